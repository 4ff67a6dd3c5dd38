"""Lines of 80 columns, whatever the texts are."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from users_service.commands import user_shown as shown
from users_service.users.model import new_user

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def columns(line: str) -> int:
    """Return how many columns of a terminal a line takes."""
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in line
    )


@given(name=st.text(max_size=255), ways=st.lists(st.text(max_size=255), max_size=5))
def test_a_user_of_any_name_fits(name: str, ways: list[str]) -> None:
    """No line is longer, none holds what a terminal acts on, and nothing of a text is lost."""
    fields = shown.user(new_user("ann@example.com", NOW, name=name), ways, 3)
    lines = shown.fields(fields)
    assert all(columns(line) <= shown.COLUMNS for line in lines)
    assert all(each.isprintable() for line in lines for each in line)
    everything = "".join(line[shown.HEAD + 2 :] for line in lines)
    assert shown.printable(name) in everything


@given(address=st.text(max_size=45), agent=st.text(max_size=512), state=st.text(max_size=32))
def test_a_session_from_anywhere_takes_two_lines(address: str, agent: str, state: str) -> None:
    """What does not fit is cut, and says so."""
    row = {
        "id": "sess_01jd8k2v5rf2xbq0m3c9w7n4ht",
        "state": state,
        "authentication_method": None,
        "user_agent": agent,
        "ip_address": address,
        "created_at": NOW,
        "expires_at": NOW,
        "ended_at": None,
    }
    lines = shown.session_lines(row)
    assert len(lines) == 2
    assert all(columns(line) <= shown.COLUMNS for line in lines)
    assert all(each.isprintable() for line in lines for each in line)
