"""What callers see of errors that a driver raises outside of its own classes."""

from __future__ import annotations

from pathlib import Path

import asyncmy
import pytest

from chassis.errors import DatabaseUnavailable
from users_service.driver_errors import RESET_WHILE_CONNECTING, translated


def test_a_connection_that_is_reset_while_it_is_made_is_an_unavailable_database() -> None:
    """The driver raises a RuntimeError then, which would reach the caller as a fault of ours."""
    with pytest.raises(DatabaseUnavailable), translated():
        raise RuntimeError(RESET_WHILE_CONNECTING)


def test_other_runtime_errors_pass() -> None:
    """A mistake of ours is not taken for the database's."""
    with pytest.raises(RuntimeError, match="a mistake"), translated():
        raise RuntimeError("a mistake")


def test_the_driver_still_says_it_in_these_words() -> None:
    """A new version of the driver may speak otherwise: then the sentence above is to be changed."""
    source = Path(asyncmy.__file__).with_name("connection.pyx")
    assert RESET_WHILE_CONNECTING in source.read_text()
