"""How commands end where something fails."""

from __future__ import annotations

import pytest

from chassis.commands import cli
from chassis.errors import DatabaseUnavailable
from chassis.schema import SchemaLacking


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (cli.CommandFailed("two\nlines"), "two lines\n"),
        (SchemaLacking("no schema"), "no schema\n"),
        (DatabaseUnavailable(), "the database is not available\n"),
        (
            FileNotFoundError(2, "No such file or directory", "/nowhere"),
            "failed: No such file or directory: /nowhere\n",
        ),
        (ValueError("secret"), "failed unexpectedly: ValueError at "),
        (KeyError("secret"), "failed unexpectedly: KeyError at "),
    ],
)
def test_a_command_that_fails_says_so_in_one_line(
    error: Exception, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, no traceback, and no text of an error that nobody foresaw: drivers quote rows in it."""

    async def work() -> None:
        raise error

    with pytest.raises(SystemExit) as ended:
        cli.run(work())
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert told.startswith(says)
    assert len(told.splitlines()) == 1
    assert "secret" not in told
