"""One JSON document of what is kept of a person: a list for each kind of record, written as they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import BinaryIO, Final

import orjson
from google.protobuf import json_format
from vibework.users.v1.user_service_pb2 import ExportUserResponse

# Kinds of records, in the order in which an export has them, with the names of their lists.
LISTS: Final = {
    "user": "users",
    "account": "accounts",
    "session": "sessions",
    "verification": "verifications",
    "preferences": "preferences",
    "push_subscription": "push_subscriptions",
    "notification": "notifications",
    "delivery": "deliveries",
    "suppression": "suppressions",
}


async def write_document(file: BinaryIO, records: AsyncIterator[ExportUserResponse]) -> int:
    """Write all records and, as the last member, ``record_count``; return how many they are.

    Raises what ends the export; the document is then none, since it lacks its end.
    """
    left, count = list(LISTS), 0
    file.write(b"{")
    opened = None
    async for record in records:
        kind = record.WhichOneof("record")
        if kind == "end" or kind is None:
            count = record.end.record_count
            break
        while opened != kind:
            # Lists of which nothing came are there, too, and empty.
            if opened is not None:
                file.write(b"],\n")
            opened = left.pop(0)
            file.write(b'"%s":[' % LISTS[opened].encode())
            first = True
        values = json_format.MessageToDict(getattr(record, kind), preserving_proto_field_name=True)
        file.write((b"\n" if first else b",\n") + orjson.dumps(values))
        first = False
    while left:
        file.write(b'],\n"%s":[' % LISTS[left.pop(0)].encode())
    file.write(b'],\n"record_count":%d}\n' % count)
    return count
