"""The ends of every type of number and time, and what is beyond them: by the type of a field."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.contract.timestamps import FIRST_SECOND, LAST_SECOND

_INT32, _INT64 = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
_NUMBERS = (math.nan, math.inf, -math.inf, -0.0, 5e-324, 1.7976931348623157e308, -1.7976931348623157e308, 2.0**53 + 2)
_SECONDS = (FIRST_SECOND, LAST_SECOND)
GOOD: dict[str, tuple[Any, ...]] = {
    "google.protobuf.Timestamp": tuple(
        Timestamp(seconds=s, nanos=n) for s in (*_SECONDS, -1, 0) for n in (0, 999_999_999)
    ),
    "google.protobuf.Duration": (
        Duration(),
        Duration(seconds=315_576_000_000, nanos=999_999_999),
        Duration(seconds=-315_576_000_000, nanos=-999_999_999),
        Duration(seconds=1),
    ),
}
BAD: dict[str, tuple[Any, ...]] = {
    "google.protobuf.Timestamp": (
        *(Timestamp(seconds=seconds) for seconds in (FIRST_SECOND - 1, LAST_SECOND + 1, *_INT64)),
        *(Timestamp(seconds=1_800_000_000, nanos=nanos) for nanos in (-1, -5, 1_000_000_000, 2_000_000_000, *_INT32)),
        *(Timestamp(seconds=seconds, nanos=nanos) for seconds in _SECONDS for nanos in (-1, 1_000_000_000)),
    ),
    "google.protobuf.Duration": (
        *(Duration(seconds=seconds) for seconds in (315_576_000_001, -315_576_000_001, *_INT64)),
        *(Duration(seconds=2, nanos=nanos) for nanos in (-5, 1_000_000_000, 2_000_000_000, *_INT32)),
        Duration(seconds=-2, nanos=5),
    ),
}
VALUES: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(("int32", "sint32", "sfixed32"), (*_INT32, -1, 0, 1)),
    **dict.fromkeys(("int64", "sint64", "sfixed64"), (*_INT64, -1, 0, 1)),
    **dict.fromkeys(("uint32", "fixed32"), (0, 2**32 - 1)),
    **dict.fromkeys(("uint64", "fixed64"), (0, 2**64 - 1)),
    **dict.fromkeys(("double", "float"), _NUMBERS),
    "enum": (*_INT32, -1, 0, 1, 99),
    "google.protobuf.Struct": tuple(Struct(fields={"n": Value(number_value=number)}) for number in _NUMBERS),
    "google.protobuf.Timestamp": GOOD["google.protobuf.Timestamp"],
    "google.protobuf.Duration": GOOD["google.protobuf.Duration"],
}
