"""Writes of many rows whose call ended before the last batch did: its rows are changed, and not counted.

docs/decisions/0066 says why. A test that adds up what the calls counted allows for one batch each time.
"""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from chassis.errors import ServiceError
from chassis.pooling import batches
from tests.harness.patience import PATIENCE_SECONDS


def noted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets an entry each time that a call ends so, from now on."""
    early: list[int] = []
    tell = batches._tell

    def told(error: ServiceError, changed: int) -> None:
        early.append(changed)
        tell(error, changed)

    monkeypatch.setattr(batches, "_tell", told)
    return early


async def answer_of(call: Any, request: Any, seconds: float, early: list[int]) -> Any:
    """Make a call that has so many seconds, and return its answer.

    It has twice the time again where a busy machine carries out no batch in it, which is an error and not an answer.
    """
    while True:
        try:
            return await call(request, timeout=seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED or seconds > PATIENCE_SECONDS:
                raise
        early.append(0)
        seconds *= 2
