"""Tests that cannot hold on a sharded Vitess, each with the reason; everything else of the users' suite runs on it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import pytest

_CONNECTIONS: Final = "it looks for the service's connections at MySQL, where a vtgate has its own"
_COUNTERS: Final = "it reads what one MySQL has counted for a connection, and each statement is of several"
_ONE_SET_OF_TABLES: Final = "a keyspace has the tables that its vschema names, and nobody else's"
_ACCOUNTS: Final = "vtcombo lets everybody in, and has no accounts"
_OWN_SERVER: Final = "it starts a MySQL of its own, with other settings, and has nothing to do with vtgate"
_FILLED: Final = "it has the server make rows by an INSERT … SELECT that Vitess does not plan"
_USERS: Final = "tests/integration/users"
# By the beginning of the test's id.
EXCEPTIONS: Final = {
    f"{_USERS}/test_idle_connections.py::test_all_are_given_back_once_nobody_asks": _CONNECTIONS,
    f"{_USERS}/test_idle_connections.py::test_the_one_in_use_stays": _CONNECTIONS,
    f"{_USERS}/test_runbook_sql.py::test_statement_of_the_runbook_runs[SHOW FULL PROCESSLIST;]": _CONNECTIONS,
    f"{_USERS}/verifications/test_effects.py::test_a_crash_between_consuming_and_setting_leaves_the_secret_good": (
        _CONNECTIONS
    ),
    f"{_USERS}/test_pool_reset.py::test_a_transaction_takes_no_round_trip_for_a_rollback_of_nothing": _COUNTERS,
    f"{_USERS}/test_prepared.py::test_a_transaction_of_prepared_statements_is_committed_once": _COUNTERS,
    f"{_USERS}/sessions/test_ended_sessions.py::test_a_page_reads_its_own_rows_only": _COUNTERS,
    f"{_USERS}/users/test_following.py::test_a_page_by_change_reads_its_own_rows_only": _COUNTERS,
    f"{_USERS}/users/test_following.py::test_ids_are_read_by_the_primary_key": _COUNTERS,
    f"{_USERS}/users/test_list.py::test_a_page_reads_its_own_rows_only": _COUNTERS,
    f"{_USERS}/users/test_list_by_state.py::test_a_page_of_a_state_reads_its_own_rows_only": _COUNTERS,
    f"{_USERS}/watch/test_cost.py::test_statements_read_what_they_return": _COUNTERS,
    f"{_USERS}/users/test_faults.py::test_the_database_gives_up_what_nobody_waits_for": (
        "how long a statement may take is a setting of the tablets"
    ),
    f"{_USERS}/test_purge.py::test_a_row_that_other_tables_refer_to_stops_nothing": _ONE_SET_OF_TABLES,
    f"{_USERS}/test_taking_over.py::test_a_later_revision_does_not_take_a_foreign_table_for_its_own": (
        _ONE_SET_OF_TABLES
    ),
    f"{_USERS}/test_taking_over.py::test_every_revision_that_drops_rows_is_refused": _ONE_SET_OF_TABLES,
    f"{_USERS}/test_taking_over.py::test_a_key_that_rows_are_in_the_way_of_is_told_without_them": (
        "such rows cannot be made: a lookup keeps the address unique without the key"
    ),
    f"{_USERS}/test_whole_ids.py::test_a_user_goes_with_rows_that_the_database_takes_for_its_own": (
        "such rows cannot be made: another spelling of the user's id leads to another shard"
    ),
    f"{_USERS}/test_taking_over.py::test_down_drops_no_rows_unasked": (
        "the tables of events are there twice, and a revision that drops them reaches one of the two"
    ),
    f"{_USERS}/test_taking_over.py::test_no_command_ends_in_a_traceback[wrong password]": _ACCOUNTS,
    f"{_USERS}/test_taking_over.py::test_an_account_without_rights_is_told_so": _ACCOUNTS,
    f"{_USERS}/test_locking_migrations.py": _FILLED,
    f"{_USERS}/test_session_state.py::test_every_way_has_the_same_session": _OWN_SERVER,
    f"{_USERS}/test_session_state.py::test_text_comes_back_as_it_was_given": _OWN_SERVER,
    f"{_USERS}/test_tls_to_mysql.py": _OWN_SERVER,
}
# By a fixture that the test asks for.
WITHOUT: Final = {
    "mysql_empty_database": "it needs a database without tables, and a keyspace has them from the beginning",
}


def skip(items: Iterable[pytest.Item]) -> None:
    """Skip those of the tests."""
    for item in items:
        asked = getattr(item, "fixturenames", ())
        reasons = [reason for beginning, reason in EXCEPTIONS.items() if item.nodeid.startswith(beginning)]
        reasons += [reason for fixture, reason in WITHOUT.items() if fixture in asked]
        if reasons:
            item.add_marker(pytest.mark.skip(reason=f"on Vitess: {reasons[0]}"))
