"""Ways to spoil a run file: at random, and always the same for a seed."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import deepcopy
from random import Random
from typing import Any

from efficarch.stats import median, median_interval, paired_ratio

Path = tuple[str | int, ...]

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 1.5, -0.0, 1e308, -1e308, 5e-324),
    *(float("nan"), float("inf"), 10**12, 10**18, -(10**18), 2**63 - 1, 2**63, 10**400),
    *("", "x", "\ud800", "a\x00b", "a\nb", "1", "x" * 500),
    *([], {}, [[]], [None], [1] * 3, {"a": 1}),
)
"""Values of any type, put anywhere."""

COUNTS = (0, 1, 2, 7, 10**6, 10**12, 2**53 + 1, 2**63 - 1)
NUMBERS = (0.0, -0.0, -1.0, 1.0, 0.5, -0.5, 1e-9, 1e-6, 3.0, 1e3, 1e6, 1e10, 1e300, 5e-324, -1e300)
TEXTS = ("", "x", "random@0.5", "cuda", "<b>", "a/b|c`*", "a\nb", "\u202e", "\udcff", "x" * 300)


def paths(value: Any, before: Path = ()) -> Iterator[Path]:
    """Return the path to every value inside of one."""
    items: Iterator[tuple[str | int, Any]] = iter(())
    if isinstance(value, dict):
        items = iter(value.items())
    elif isinstance(value, list):
        items = iter(enumerate(value))
    for key, inner in items:
        yield (*before, key)
        yield from paths(inner, (*before, key))


def at(value: Any, path: Path) -> Any:
    """Return what is under a path."""
    for key in path:
        value = value[key]
    return value


def wild(data: Any, random: Random) -> Any:
    """Return a copy with one to three values deleted, replaced, repeated, moved or nested."""
    data = deepcopy(data)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        places = list(paths(data))
        if not places:
            break
        place = random.choice(places)
        change = random.choice([_deleted, _odd, _odd, _odd, _scaled, _repeated, _moved])
        change(data, place, random)
    return _nested(data, random) if random.random() < 0.05 else data


def _deleted(data: Any, place: Path, _random: Random) -> None:
    del at(data, place[:-1])[place[-1]]


def _odd(data: Any, place: Path, random: Random) -> None:
    at(data, place[:-1])[place[-1]] = deepcopy(random.choice(ODD))


def _scaled(data: Any, place: Path, random: Random) -> None:
    old = at(data, place)
    if isinstance(old, int | float):
        with suppress(OverflowError, ValueError):
            at(data, place[:-1])[place[-1]] = random.choice([-old, old / 1e6, old * 1e300, old + 1])


def _repeated(data: Any, place: Path, _random: Random) -> None:
    parent, value = at(data, place[:-1]), deepcopy(at(data, place))
    if isinstance(parent, list):
        parent.append(value)
    else:
        parent[f"{place[-1]}_"] = value


def _moved(data: Any, place: Path, random: Random) -> None:
    other = at(data, random.choice(list(paths(data))))
    at(data, place[:-1])[place[-1]] = deepcopy(other)


def _nested(data: Any, random: Random) -> Any:
    value: Any = 1
    for _ in range(random.choice([3, 100, 700])):
        value = [value]
    place = random.choice(list(paths(data)) or [("a",)])
    with suppress(KeyError, TypeError):
        at(data, place[:-1])[place[-1]] = value
    return data


def likely(data: Any, random: Random) -> Any:
    """Return a copy with one to four values of the right type that make no sense.

    Figures follow from the rounds that are then there, so that readers have nothing to object to
    but the values themselves.
    """
    data = deepcopy(data)
    places: dict[str, list[Path]] = {}
    for place in paths(data):
        places.setdefault(type(at(data, place)).__name__, []).append(place)
    places.pop("dict")
    for _ in range(random.choice([1, 1, 2])):
        # there are far more numbers than anything else
        place = random.choice(places[random.choice(list(places))])
        with suppress(KeyError, IndexError, TypeError):
            at(data, place[:-1])[place[-1]] = _of_its_type(at(data, place), random)
    if random.random() < 0.3:
        _lose_a_cell(data, random)
    for bench in data.get("benchmarks", []):
        if random.random() < 0.3:
            with suppress(KeyError, TypeError):
                _stretch(bench["extra_info"]["efficarch"]["measurement"]["scaling"], random)
        with suppress(KeyError, IndexError, TypeError, ValueError, ZeroDivisionError):
            follow(bench["extra_info"]["efficarch"]["measurement"])
        with suppress(KeyError, IndexError, TypeError):
            bench["stats"]["median"] = median(bench["stats"]["data"])
    return data


def _of_its_type(old: Any, random: Random) -> Any:
    kinds: list[tuple[type, Callable[[], Any]]] = [
        (bool, lambda: not old),
        (int, lambda: random.choice(COUNTS)),
        (float, lambda: random.choice([*NUMBERS, old * 10, old / 10, -old, old * 1.001])),
        (str, lambda: random.choice(TEXTS)),
        (list, lambda: random.choice([[], old[1:], old + old[-1:], old * 2, old[::-1]])),
        (type(None), lambda: random.choice([0, 1, 0.5, 1e6, "x", [0.9, 1.1]])),
    ]
    return next(deepcopy(make()) for kind, make in kinds if isinstance(old, kind))


def _lose_a_cell(data: Any, random: Random) -> None:
    """Take a cell out of the file wherever it stands, as a shard or a -k would."""
    with suppress(KeyError, TypeError, IndexError, ValueError):
        gone = data["benchmarks"].pop(random.randrange(len(data["benchmarks"])))
        cell_id = gone["extra_info"]["efficarch"]["cell"]
        lines = data["efficarch"]["cells"]
        data["efficarch"]["cells"] = [line for line in lines if line["cell"]["id"] != cell_id]


def _stretch(scaling: Any, random: Random) -> None:
    """Give both sweeps lengths that are still increasing, and no lengths anyone measures."""
    count = len(scaling["subject"]["lengths"])
    first, step = random.choice([(1, 1), (10**9, 1), (10**11, 1), (2**62, 1), (1, 10**11)])
    for side in ("subject", "reference"):
        scaling[side]["lengths"] = [first + step * i for i in range(count)]
    scaling["subject"]["floor_ms"] = random.choice([1e-9, 1e-6, 1.0])


def follow(measurement: dict[str, Any]) -> None:
    """Let the figures of a stored measurement be those of its raw values."""
    new = "timed_ratio" in measurement
    scaling = measurement.get("scaling")
    if scaling:
        sweeps = [scaling[side] for side in ("subject", "reference")]
        shared = max(set(sweeps[0]["lengths"]) & set(sweeps[1]["lengths"]))
        for name, sweep in zip(("rounds_ms", "reference_rounds_ms"), sweeps, strict=True):
            measurement[name] = sweep["rounds_ms"][sweep["lengths"].index(shared)]
    rounds, reference = measurement["rounds_ms"], measurement["reference_rounds_ms"]
    latency = median_interval(rounds)
    measurement["latency_ms"] = vars(latency)
    measurement["throughput_per_s"] = 1e3 * measurement["items"] / latency.value
    if reference:
        ratio = paired_ratio(rounds[: len(reference)], reference)
        measurement["timed_ratio" if new else "ratio"] = vars(ratio)
        measurement["timed_reference_ms" if new else "reference_ms"] = vars(
            median_interval(reference)
        )


def spoiled_bytes(text: str, random: Random) -> bytes:
    """Return the bytes of a file: cut short, with one of them changed, or in another encoding."""
    content = text.encode()
    place = random.randrange(len(content))
    return random.choice(
        [
            content[:place],
            content[:place] + bytes([random.randrange(256)]) + content[place + 1 :],
            content[place:] + content[:place],
            text.encode("utf-16"),
            text.encode("utf-8-sig") + b"\x00",
        ]
    )
