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

# Of all entries of a call: names, values, and 32 bytes for each (RFC 9113, 6.5.2).
MOST_METADATA_BYTES: Final = 16 * 1024
_ENTRY_BYTES: Final = 32


def metadata_limit(_: Method) -> GateCheck:
    """Return the check that raises ``MetadataTooLarge``; every method has it."""
    return _check


def _check(call: Call) -> None:
    metadata = call.metadata
    size = _ENTRY_BYTES * len(metadata)
    for key, value in metadata:
        size += len(key) + len(value)
    if size >= MOST_METADATA_BYTES:
        raise MetadataTooLarge
