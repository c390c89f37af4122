"""Claims about the turns of two processes; here two threads."""

import json
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Thread

import pytest

from efficarch import turns
from efficarch.errors import EfficarchError
from efficarch.turns import Conductor, Meeting, Turns, current

Player = Callable[[Turns, list[str]], None]


def conducted(
    first: Player, second: Player, order: Sequence[str] = "abcdef"
) -> tuple[list[str], list[str]]:
    """Let two players run under a conductor; return what each noted, and check that all end."""
    connections, threads, logs = {}, [], ([], [])  # type: ignore[var-annotated]
    for name, player, log in zip(("base", "head"), (first, second), logs, strict=True):
        ours, theirs = socket.socketpair()
        connections[name] = ours
        threads.append(Thread(target=run, args=(player, theirs, log)))
    conductor = Thread(target=Conductor(connections, order.index).run)
    for thread in (conductor, *threads):
        thread.start()
    for thread in (conductor, *threads):
        thread.join(5)
        assert not thread.is_alive()
    return logs


def run(player: Player, connection: socket.socket, log: list[str]) -> None:
    """Play, and hang up as a process does that ends."""
    mine = Turns(connection)
    try:
        player(mine, log)
    finally:
        mine._line.close()


NOTES: list[str] = []


@pytest.fixture(autouse=True)
def _empty() -> None:
    """Nobody has noted anything yet."""
    NOTES.clear()


def measuring(
    name: str, cells: str, rounds: int = 4, *, fails_in: str = "", leaves: bool = True
) -> Player:
    """Return a process that measures some cells; in one of them its second round raises."""

    def play(mine: Turns, log: list[str]) -> None:
        for cell in cells:
            mine.enter(cell)
            NOTES.append(f"{name} prepares {cell}")
            time.sleep(0.002)
            NOTES.append(f"{name} prepared {cell}")
            meeting = mine.meet(cell, rounds)
            log.append(f"{cell} {'alone' if meeting is None else meeting.turn}")
            if meeting is None:
                continue
            try:
                for index in range(meeting.rounds):
                    with mine.turn():
                        NOTES.append(f"{name} {cell} {index}")
                        if cell == fails_in and index == 1:
                            raise ValueError("no more")
            except ValueError:
                log.append("failed")
                continue
            if leaves:
                mine.leave()
            NOTES.append(f"{name} leaves {cell}")

    return play


def test_rounds_alternate() -> None:
    """One at a time: preparing one after the other, then round by round."""
    first, second = conducted(measuring("b", "a"), measuring("h", "a"))

    assert (first, second) == (["a 0"], ["a 1"])
    assert NOTES[:4] == ["b prepares a", "b prepared a", "h prepares a", "h prepared a"]
    assert NOTES[4:] == [
        "b a 0",
        "h a 0",
        "b a 1",
        "h a 1",
        "b a 2",
        "h a 2",
        "b a 3",
        "h a 3",
        *NOTES[12:],
    ]
    assert sorted(NOTES[12:]) == ["b leaves a", "h leaves a"]


def test_nobody_goes_on_before_both_have_had_their_last_round() -> None:
    """What a process does after its rounds would disturb the last one of the other."""
    for _ in range(20):
        conducted(measuring("b", "ab"), measuring("h", "ab"))
        for cell in "ab":
            last = max(i for i, note in enumerate(NOTES) if note.endswith(f" {cell} 3"))
            assert min(NOTES.index(f"{name} leaves {cell}") for name in "bh") > last
        NOTES.clear()


@pytest.mark.parametrize(("base", "head"), [(False, True), (True, False), (False, False)])
def test_an_efficarch_that_does_not_take_leave_meets_all_the_same(base: bool, head: bool) -> None:
    """At every cell, as one that does."""
    first, second = conducted(
        measuring("b", "abc", leaves=base), measuring("h", "abc", leaves=head)
    )

    assert (first, second) == (["a 0", "b 0", "c 0"], ["a 1", "b 1", "c 1"])


def test_both_run_as_many_rounds_as_either_wants() -> None:
    """The more of the two."""
    conducted(measuring("b", "a", rounds=2), measuring("h", "a", rounds=6))

    assert sum(note.startswith("b a") for note in NOTES) == 6
    assert sum(note.startswith("h a") for note in NOTES) == 6


def test_a_quick_side_does_not_keep_a_slow_one_busy() -> None:
    """It asks for as many rounds as fill a second; of the other's they would fill an hour."""
    conducted(measuring("b", "a", rounds=6), measuring("h", "a", rounds=30_000))

    assert sum(note.startswith("b a") for note in NOTES) == 4 * 6
    assert sum(note.startswith("h a") for note in NOTES) == 4 * 6


@pytest.mark.parametrize(
    ("base", "head", "alone"),
    [
        ("abc", "ac", "b"),
        ("ac", "abc", "b"),
        ("ab", "abcd", "cd"),
        ("bcd", "ad", "abc"),
        ("", "ab", "ab"),
        ("ab", "", "ab"),
    ],
)
def test_a_cell_of_one_side_is_measured_alone(base: str, head: str, alone: str) -> None:
    """New, gone, skipped or broken in preparing; cells that both have are met at."""
    first, second = conducted(measuring("b", base), measuring("h", head))

    told = [line.split() for line in first + second]
    assert sorted({cell for cell, how in told if how == "alone"}) == sorted(alone)
    assert [line[0] for line in first] == list(base)
    assert [line[0] for line in second] == list(head)


def test_a_round_that_raises_leaves_the_other_its_rounds() -> None:
    """And both meet again at the next cell."""
    first, second = conducted(measuring("b", "abc", fails_in="b"), measuring("h", "abc"))

    assert first == ["a 0", "b 0", "failed", "c 0"]
    assert second == ["a 1", "b 1", "c 1"]
    assert sum(note.startswith("h b") for note in NOTES) == 4
    assert sum(note.startswith("b b") for note in NOTES) == 2


def test_a_process_that_dies_leaves_the_other_alone() -> None:
    """In the middle of a round, as one that is killed."""

    def dies(mine: Turns, _log: list[str]) -> None:
        mine.enter("a")
        mine.meet("a", 4)
        mine._line.receive()  # its turn

    _first, second = conducted(dies, measuring("h", "ab"))

    assert second == ["a 1", "b alone"]
    assert sum(note.startswith("h a") for note in NOTES) == 4


def test_a_process_that_knows_no_turns_goes_first() -> None:
    """An efficarch from before turns says nothing; the other waits until it has ended."""

    def silent(_mine: Turns, _log: list[str]) -> None:
        time.sleep(0.05)
        NOTES.append("done")

    _first, second = conducted(silent, measuring("h", "a"))

    assert NOTES[0] == "done"
    assert second == ["a alone"]


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (b'{"enter": "' + b"a" * turns.LONGEST_LINE + b'"}\n', "is there a test with such a name"),
        (b"\xff\xfe\n", "decode"),
        (b"null\n", "None is no message"),
        (b"{}\n", "{} is no message"),
        (b'""\n', "'' is no message"),
        (b'{"enter": ""}\n', "is no message"),
        (b'{"enter": 3}\n', "is no message"),
        (b'{"ready": "a"}\n', "is no message"),
        (b'{"ready": "a", "rounds": true}\n', "is no message"),
        (b'{"enter": "a"}\nnull\n', "None is no message"),
        (b'{"enter": "a"}\n{"ready": "a", "rounds": 1}\nnull\n', "None is no end of a round"),
    ],
    ids=lambda value: repr(value[:24]),
)
def test_who_goes_on_without_turns_is_found_out(said: bytes, words: str) -> None:
    """What cannot be read is not taken for the end of a process: both would work at once."""
    ours, theirs = socket.socketpair()
    other, its = socket.socketpair()
    conductor = Conductor({"base": ours, "head": other}, "abc".index)
    playing = Thread(target=run, args=(measuring("h", "a", rounds=1), its, []))
    speaking = Thread(target=spoken, args=(theirs, said))
    conducting = Thread(target=conductor.run)
    for thread in (playing, speaking, conducting):
        thread.start()
    conducting.join(5)
    theirs.close()
    for thread in (playing, speaking, conducting):
        thread.join(5)

    with pytest.raises(
        EfficarchError, match="of the base broke the rules of taking turns"
    ) as error:
        conductor.check()
    assert words in str(error.value)


def spoken(connection: socket.socket, said: bytes) -> None:
    """Say something, until nobody hears it any more."""
    with suppress(OSError):
        connection.sendall(said)


def test_a_name_may_be_long() -> None:
    """pytest makes an id of a text of any length."""
    name = "a" * 1_000_000
    order = {name: 0, "b": 1}

    def play(mine: Turns, log: list[str]) -> None:
        for cell in order:
            mine.enter(cell)
            log.append("alone" if mine.meet(cell, 1) is None else "met")
            with mine.turn():
                pass
            mine.leave()

    assert conducted(play, play, list(order)) == (["met", "met"], ["met", "met"])


def test_without_a_gate_there_are_no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one they are at the end of the connection it names."""
    monkeypatch.delenv(turns.VARIABLE, raising=False)
    assert current() is None
    ours, theirs = socket.socketpair()
    monkeypatch.setenv(turns.VARIABLE, str(theirs.detach()))

    mine = current()

    assert mine is not None
    ours.sendall(json.dumps({"rounds": 3, "turn": 1}).encode() + b"\n")
    assert mine.meet("a", 2) == Meeting(3, 1)
    assert json.loads(ours.recv(100)) == {"ready": "a", "rounds": 2}
    ours.close()
    mine._line.close()


def test_a_gate_that_is_gone_stops_nobody() -> None:
    """Its processes go on alone and end by themselves."""
    ours, theirs = socket.socketpair()
    ours.close()
    mine = Turns(theirs)

    mine.enter("a")

    assert mine.meet("a", 2) is None
    mine._line.close()
