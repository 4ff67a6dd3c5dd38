"""The settings of the testing plugin, and the document that shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from vibework.testing._settings import Settings, described, variable

ROOT: Final = Path(__file__).parents[4]
DOCUMENT: Final = (ROOT / "docs" / "testing.md").read_text()


def test_the_document_has_every_setting() -> None:
    """With its default, and in the code's own words."""
    rows = re.findall(r"^\| `(VIBEWORK_\w+)` \| (\S+) \| (.+) \|$", DOCUMENT, re.MULTILINE)
    expected = [(variable(name), f"`{default}`" if default else "none", what) for name, what, default in described()]
    assert rows == expected


def test_examples_are_run_by_the_project_that_uses_the_plugin() -> None:
    """What the document shows stands, word for word, in tests/consumer, whose tests are run."""
    written = "\n".join(path.read_text() for path in (ROOT / "tests" / "consumer").glob("*.py"))
    examples = [block for block in re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL) if "def " in block]
    assert len(examples) == 6
    assert [block for block in examples if block not in written] == []


def test_the_environment_comes_before_the_configuration() -> None:
    """A variable that is empty is none; what neither says has its default."""
    told = {"vibework_image": "of the file", "vibework_mails": "folder"}
    environment = {"VIBEWORK_IMAGE": "of the environment", "VIBEWORK_MAILS": ""}
    read = Settings.read(environment, lambda name: told.get(name, ""))
    assert (read.image, read.mails, read.mysql_image) == ("of the environment", "folder", Settings().mysql_image)
