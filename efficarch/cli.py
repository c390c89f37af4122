"""The command line: ``efficarch bench | gate | compare | tune | report | doctor | list``.

Exit codes: 0 pass, 1 fail, 2 usage or unreadable input, 3 inconclusive, 4 not comparable, 70 a
fault of efficarch. Every error a user can cause ends in one sentence on stderr.
"""

from collections.abc import Sequence

from efficarch.console import ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""

    def command() -> int:
        # what cannot be imported must not end as a verdict either
        from efficarch.commands import run

        return run(argv)

    return ended(command)
