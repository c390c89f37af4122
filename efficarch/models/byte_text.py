"""Text that every Python installation carries: the sources and documentation of its own library.

Top-level modules of the standard library and the packages in `PACKAGES`, without their tests, as
bytes. Nothing is left out for being alike, and the order is that of the names. The text differs a
little between Python versions, so whatever is measured on it goes with a `TextDigest`.
"""

import math
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from efficarch.errors import EfficarchError

PACKAGES = (
    "asyncio",
    "collections",
    "concurrent",
    "email",
    "html",
    "http",
    "importlib",
    "json",
    "logging",
    "multiprocessing",
    # the language reference and a help text for every statement: the one file that is prose
    "pydoc_data",
    "re",
    "sqlite3",
    "tomllib",
    "unittest",
    "urllib",
    "wsgiref",
    "xml",
    "xmlrpc",
    "zoneinfo",
)
"""Packages that Python 3.11 to 3.13 have, slim and Debian ones included."""

HELD_OUT = (
    "asyncio/subprocess.py",
    "bz2.py",
    "calendar.py",
    "concurrent/futures/process.py",
    "copyreg.py",
    "email/_encoded_words.py",
    "email/contentmanager.py",
    "enum.py",
    "html/parser.py",
    "importlib/_bootstrap_external.py",
    "json/encoder.py",
    "multiprocessing/connection.py",
    "multiprocessing/shared_memory.py",
    "multiprocessing/sharedctypes.py",
    "multiprocessing/util.py",
    "opcode.py",
    "sched.py",
    "secrets.py",
    "subprocess.py",
    "timeit.py",
    "token.py",
    "trace.py",
    "traceback.py",
    "xml/sax/xmlreader.py",
    "zoneinfo/_zoneinfo.py",
)
"""Files nobody trains on: of those above, the ones whose name's SHA-256 begins below 26 of 256.

Written down so that no rule has to be trusted; without packages' ``__init__`` and other files under
1 KiB, and without ``pydoc_data/topics.py``, which is in training as the only one of its kind.
"""

TESTS = {"test", "tests"}


@dataclass(frozen=True)
class TextDigest:
    """What a text was: its files, its bytes, and the start of its SHA-256."""

    files: int
    bytes: int
    sha256: str


def training_files() -> tuple[str, ...]:
    """Return the names of the files to train on, in order, relative to the standard library."""
    return tuple(name for name in _files() if name not in HELD_OUT)


def training_bytes() -> bytes:
    """Return the text to train on, file after file.

    Raises:
        EfficarchError: this Python lacks one of the packages.
    """
    return _joined(training_files())


def held_out_bytes() -> bytes:
    """Return the text that is held out, file after file.

    Raises:
        EfficarchError: this Python lacks one of the files.
    """
    return _joined(HELD_OUT)


def held_out_segments(length: int, count: int) -> Tensor:
    """Return segments that lie evenly over the held-out text, [count, length] int64 bytes.

    They begin at the same places whenever they are asked for, and overlap only where the text is
    shorter than all of them together.

    Raises:
        EfficarchError: a length or count below 1, or a length beyond the held-out text.
    """
    text = held_out_bytes()
    if not 1 <= length <= len(text) or count < 1:
        raise EfficarchError(
            f"cannot cut {count} segments of {length} bytes from held-out text of {len(text)} "
            "bytes; ask for at least one that fits"
        )
    room = len(text) - length
    starts = [room * segment // max(count - 1, 1) for segment in range(count)]
    return torch.stack([as_tensor(text[start : start + length]) for start in starts])


def as_tensor(text: bytes) -> Tensor:
    """Return bytes as token ids, [length] int64."""
    return torch.frombuffer(bytearray(text), dtype=torch.uint8).long()


@torch.no_grad()
def bits_per_byte(model: nn.Module, segments: Tensor) -> Tensor:  # [count, length] -> [count]
    """Return the mean bits a causal language model needs for a byte of each segment, in float64.

    The first byte of a segment has nothing before it and is not counted. One segment runs at a
    time, so memory does not grow with their number.

    Raises:
        EfficarchError: the segments are shorter than 2 bytes.
    """
    return torch.stack(
        [
            bits_to_predict(segment, model(input_ids=segment[None], use_cache=False).logits[0])
            for segment in segments
        ]
    )


def bits_to_predict(segment: Tensor, logits: Tensor) -> Tensor:  # [length], [length, 256] -> []
    """Return the mean bits of the bytes after the first, each by the logits before it, float64.

    Raises:
        EfficarchError: the segment is shorter than 2 bytes.
    """
    if len(segment) < 2:
        raise EfficarchError(
            f"segments of {len(segment)} bytes leave nothing to predict; take at least 2"
        )
    return F.cross_entropy(logits[:-1].double(), segment[1:]) / math.log(2)


def digest(files: Sequence[str]) -> TextDigest:
    """Return what says which text some files are: `HELD_OUT` or `training_files()`."""
    text = _joined(tuple(files))
    return TextDigest(len(files), len(text), sha256(text).hexdigest()[:16])


@cache
def _files() -> tuple[str, ...]:
    root = _root()
    lacking = [name for name in PACKAGES if not (root / name).is_dir()]
    if lacking:
        raise EfficarchError(
            f"the standard library in {root} has no {', '.join(lacking)}; "
            "use a Python with its whole standard library as files"
        )
    # the names Python itself lists leave out what an installation adds, such as sitecustomize
    modules = [path for path in root.glob("*.py") if path.stem in sys.stdlib_module_names]
    packaged = [path for name in PACKAGES for path in (root / name).rglob("*.py")]
    names = [path.relative_to(root) for path in modules + packaged]
    return tuple(sorted(name.as_posix() for name in names if not TESTS & set(name.parts)))


@cache
def _joined(names: tuple[str, ...]) -> bytes:
    root = _root()
    try:
        return b"".join((root / name).read_bytes() for name in names)
    except OSError as error:
        raise EfficarchError(
            f"cannot read {error.filename} of the standard library ({error.strerror}); "
            "use a Python with its whole standard library as files"
        ) from error


def _root() -> Path:
    return Path(sysconfig.get_path("stdlib"))
