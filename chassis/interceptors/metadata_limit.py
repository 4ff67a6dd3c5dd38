"""The gate that refuses calls with too much metadata.

gRPC's core refuses them, too, but before its peer has said that it knows the limit, which it need not, the core takes
16 MiB (docs/decisions/0054-admission-from-the-headers-on.md).
"""

from __future__ import annotations

from typing import Final

from chassis.context.calls import Call
from chassis.errors import MetadataTooLarge
from chassis.interceptors import Method
from chassis.interceptors.gates import GateCheck
from chassis.interceptors.headerlist import ENTRY_BYTES

# Of all entries of a call: names, values, and ``ENTRY_BYTES`` for each.
MOST_METADATA_BYTES: Final = 16 * 1024


def metadata_limit(_: Method) -> GateCheck:
    """Return the check that raises ``MetadataTooLarge``; every method has it."""
    return _check


def _check(call: Call) -> None:
    metadata = call.metadata
    size = ENTRY_BYTES * len(metadata)
    for key, value in metadata:
        size += len(key) + len(value)
    if size >= MOST_METADATA_BYTES:
        raise MetadataTooLarge
