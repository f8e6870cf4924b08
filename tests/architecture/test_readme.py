"""The README's table of settings is the settings."""

from __future__ import annotations

import re
from pathlib import Path

from app.settings import Settings

README = Path(__file__).parents[2] / "README.md"


def test_every_setting_stands_in_the_readme_with_its_meaning() -> None:
    rows = dict(re.findall(r"^\| `SPROUT_(\w+)` \| .*? \| (.*) \|$", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert rows == {name.upper(): field.description for name, field in Settings.model_fields.items()}
