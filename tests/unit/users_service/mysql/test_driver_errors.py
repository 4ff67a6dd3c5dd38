"""What callers see of errors that a driver raises outside of its own classes."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncmy
import asyncmy.errors
import pytest
from sqlalchemy import exc

from chassis.errors import DatabaseUnavailable
from users_service.mysql.driver_errors import (
    RESET_WHILE_CONNECTING,
    TextUnreadable,
    duplicate_key,
    ends_all_connections,
    ends_connection,
    translated,
    words,
)


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


# Of a statement, of one connection, of the server: numbers that each of MySQL's and MariaDB's errors has.
OF_THE_STATEMENT = (1062, 1205, 1213, 1406, 1452, 1969, 3024, 1114, 1021, 1317, 1146)
OF_THE_CONNECTION = (1156, 1158, 1927, 2014, 3169, 4031)
OF_THE_SERVER = (1053, 1290, 1792, 1836, 2006, 2013, 3032)


def raised(number: int) -> list[BaseException]:
    """Return an error of the server as the driver raises it, and as SQLAlchemy does."""
    error = asyncmy.errors.OperationalError(number, "words")
    return [error, exc.OperationalError("SELECT 1", (), error)]


@pytest.mark.parametrize("number", OF_THE_STATEMENT + OF_THE_CONNECTION + OF_THE_SERVER)
def test_a_connection_stays_only_after_an_error_of_the_statement_alone(number: int) -> None:
    """What tells of the connection ends it, and what tells of the server ends all that were opened to it."""
    for error in raised(number):
        assert ends_connection(error) is (number not in OF_THE_STATEMENT)
        assert ends_all_connections(error) is (number in OF_THE_SERVER)


@pytest.mark.parametrize(
    "error",
    [
        asyncmy.errors.InternalError("Packet sequence number wrong - got 7 expected 1"),
        asyncmy.errors.InterfaceError(0, "Not connected"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        ValueError("a converter of the driver"),
        KeyError(1062),
        TimeoutError(),
        asyncio.CancelledError(),
    ],
)
def test_whatever_no_server_said_ends_the_connection(error: BaseException) -> None:
    """There may be more to read on it, which the next statement would take for its own answer."""
    assert ends_connection(error)
    assert not ends_all_connections(error)


def test_a_connection_out_of_step_is_an_unavailable_database() -> None:
    """The driver has no number for it, and it is no fault of the call."""
    with pytest.raises(DatabaseUnavailable), translated():
        raise asyncmy.errors.InternalError("Packet sequence number wrong - got 7 expected 1")


def test_text_that_is_none_is_unreadable() -> None:
    """The text of the error, which has the bytes, goes nowhere."""
    with pytest.raises(TextUnreadable) as caught, translated():
        b"secret\xff".decode()
    assert caught.value.__cause__ is None
    assert "secret" not in str(caught.value)


OF_VITESS = (
    "target: users.-40.primary: vttablet: rpc error: code = AlreadyExists desc = Duplicate entry 'ann@example.com' for "
    "key 'email_lookup.PRIMARY' (errno 1062) (sqlstate 23000) (CallerID: users): "
    'Sql: "insert into email_lookup(email_normalized, keyspace_id) values (:_email_0, :ksid_0)", '
    'BindVars: {_email_0: "type:VARCHAR value:\\"it\'s\\""}'
)


@pytest.mark.parametrize(
    ("said", "key"),
    [
        ("Duplicate entry 'ann@example.com' for key 'uniq_email_normalized'", "uniq_email_normalized"),
        ("Duplicate entry 'ann@example.com' for key 'users.uniq_email_normalized'", "uniq_email_normalized"),
        ("Duplicate entry 'a' for key 'b' for key 'accounts.uniq_provider_account'", "uniq_provider_account"),
        ("Duplicate entry 'usr_1' for key 'PRIMARY'", "PRIMARY"),
        ("Duplicate entry 'usr_1' for key 'users.PRIMARY'", "users.PRIMARY"),
        (OF_VITESS, "email_lookup.PRIMARY"),
        # Its account id is a provider's, and may be anything.
        (
            "Duplicate entry 'google-for key 'a' (errno 1062) (sqlstate 23000)' for key 'uniq_provider_account'",
            "uniq_provider_account",
        ),
    ],
)
def test_the_key_that_is_taken_is_named_whoever_says_so(said: str, key: str) -> None:
    """MariaDB, MySQL and Vitess each say it in their own words; a taken address is told by the name of its key."""
    error = asyncmy.errors.IntegrityError(1062, said)
    assert duplicate_key(exc.IntegrityError("INSERT", (), error)) == key


@pytest.mark.parametrize(
    ("said", "passed_on"),
    [
        ("Duplicate key name 'idx_email'", "Duplicate key name 'idx_email'"),
        (
            "vttablet: rpc error: desc = Duplicate key name 'idx_email' (errno 1061) (sqlstate 42000): BindVars: x",
            "Duplicate key name 'idx_email'",
        ),
        ('vttablet: rpc error: code = Unknown desc = no such thing: Sql: "…", BindVars: {a: "hunter2"}', ""),
    ],
)
def test_of_what_vitess_passes_on_mysqls_words_are_left(said: str, passed_on: str) -> None:
    """Behind them it says the statement and its values, which nobody is to read."""
    assert words(exc.OperationalError("", {}, asyncmy.errors.OperationalError(1061, said))) == passed_on
