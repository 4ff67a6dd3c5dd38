"""Test of the harness's note of who made a socket."""

from __future__ import annotations

import gc
import socket
import warnings


def test_a_socket_that_nobody_closed_names_the_test_that_made_it() -> None:
    """It fails another test, in which nothing else tells where it comes from."""
    circle = [socket.socket()]
    circle.append(circle)  # type: ignore[arg-type]
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        del circle
        gc.collect()
    (message,) = [str(each.message) for each in told if "unclosed" in str(each.message)]
    assert "test_a_socket_that_nobody_closed_names_the_test_that_made_it" in message
    assert "unit/test_socket_makers.py:" in message
