"""Code that is measured in this process must not end it with a code that reads like a verdict."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from traceback import walk_tb
from typing import NoReturn
from unittest.mock import patch

from efficarch.console import USAGE
from efficarch.errors import EfficarchError, brief
from efficarch.text import terminal


@contextmanager
def sentences_for_sudden_ends() -> Iterator[None]:
    """Turn ``sys.exit`` and ``os._exit`` of others' code into a sentence and exit code 2.

    Raises:
        EfficarchError: the code raised what is no `Exception`, `SystemExit` above all.
    """
    ours = os.getpid()
    end = os._exit
    # pytest puts files of its own in the place of standard error
    errors = os.dup(2)

    def ended(status: int) -> NoReturn:
        # a child that was forked ends so, and rightly
        if os.getpid() == ours:
            sentence = f"efficarch: {terminal(_sentence(f'os._exit({brief(status)})'))}\n"
            with suppress(OSError):
                os.write(errors, sentence.encode(errors="backslashreplace"))
            status = USAGE
        end(status)

    try:
        with patch.object(os, "_exit", ended):
            yield
    except (Exception, KeyboardInterrupt):
        raise
    except BaseException as error:
        *_, (frame, line) = walk_tb(error.__traceback__)
        what = f"{brief(error)} in {frame.f_code.co_filename}, line {line}"
        raise EfficarchError(_sentence(what)) from error
    finally:
        os.close(errors)


def _sentence(what: str) -> str:
    return f"measured code ended the process ({what}), so there is no verdict; nothing was written"
