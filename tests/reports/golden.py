"""Whole outputs kept in tests/golden; EFFICARCH_UPDATE_GOLDEN=1 accepts the present ones."""

import os
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "golden"


def assert_golden(name: str, text: str) -> None:
    """Compare with the kept output, or keep this one when the update flag is set."""
    path = FOLDER / name
    if os.environ.get("EFFICARCH_UPDATE_GOLDEN") == "1":
        path.write_text(text, encoding="utf-8")
    assert path.is_file(), f"{path} is missing; set EFFICARCH_UPDATE_GOLDEN=1 once and review it"
    assert text == path.read_text(encoding="utf-8"), (
        f"{path.name} changed; if that is meant, set EFFICARCH_UPDATE_GOLDEN=1 and review the diff"
    )
