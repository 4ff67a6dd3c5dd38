"""The tests that cannot hold on the transport ``native``, and why (docs/transports.md).

Those whose server is refused for a setting, such as one of TLS, are not here: the refusal says why.
"""

from __future__ import annotations

from typing import Final

_HALF: Final = "the front does not report a call whose message has not come"
_LISTENERS: Final = "it has one listener, which nothing is known to end"
_PATHS: Final = "a path that is no UTF-8 ends the connection that it came over"
_AUTHORITY: Final = "it resets calls whose :authority is malformed"
_FLOOD: Final = "metadata of megabytes ends the connection that it came over"

_SERVING: Final = "tests/unit/chassis/serving"
_HALF_OPEN: Final = f"{_SERVING}/test_half_open_calls.py::test"
_DEATHS: Final = f"{_SERVING}/test_listener_deaths.py::test"
_METADATA: Final = f"{_SERVING}/test_metadata_limit.py::test_metadata"
_SILENT: Final = f"{_SERVING}/test_silent_connections.py::test"

REASONS: Final[dict[str, str]] = {
    f"{_HALF_OPEN}_a_call_without_a_message_is_ended_by_the_cap": _HALF,
    f"{_HALF_OPEN}_a_caller_that_ends_without_a_message_is_answered": "the front answers it by itself: INTERNAL",
    f"{_HALF_OPEN}_calls_without_a_message_are_refused_beyond_the_limit": _HALF,
    f"{_HALF_OPEN}_checks_without_a_message_give_way_to_probes": _HALF,
    f"{_HALF_OPEN}_a_caller_that_leaves_before_its_message_is_logged_as_such": _HALF,
    f"{_HALF_OPEN}_a_drain_does_not_wait_for_messages_that_never_come": _HALF,
    f"{_HALF_OPEN}_a_drain_lets_a_late_message_come": _HALF,
    f"{_HALF_OPEN}_a_connection_takes_so_many_calls": _HALF,
    f"{_HALF_OPEN}_thousands_of_calls_without_a_message_change_little": _HALF,
    "tests/unit/chassis/interceptors/test_gates.py::test_a_call_is_refused_before_its_message_has_come": _HALF,
    "tests/unit/chassis/logs/test_foreign_logs.py::test_headers_that_are_no_text_reach_no_log": "it has no gRPC core",
    f"{_DEATHS}_a_path_that_is_no_utf8_is_an_unknown_method": _PATHS,
    f"{_DEATHS}_a_flood_that_kills_listeners_leaves_the_port_open": _LISTENERS,
    f"{_DEATHS}_a_listener_that_dies_is_replaced": _LISTENERS,
    f"{_DEATHS}_calls_in_flight_outlive_their_listener": _LISTENERS,
    f"{_DEATHS}_what_cannot_be_replaced_is_told": _LISTENERS,
    f"{_DEATHS}_a_stop_beside_a_death_ends": _LISTENERS,
    f"{_SILENT}_a_connection_that_does_not_speak_http2_ends": "it gives a connection 120 s for its first words",
    f"{_METADATA}_far_beyond_the_limit_has_an_answer": _FLOOD,
    f"{_METADATA}_beyond_the_limit_costs_little": _FLOOD,
    f"{_SERVING}/test_listeners.py::test_whatever_a_caller_takes_the_server_for_is_served": _AUTHORITY,
}
