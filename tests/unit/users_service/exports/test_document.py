"""The document of one person is JSON when the export is whole, and none when it is not."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator

import orjson
import pytest
from vibework.users.v1.account_service_pb2 import Account
from vibework.users.v1.user_pb2 import User
from vibework.users.v1.user_service_pb2 import ExportUserResponse

from users_service.exports.document import LISTS, write_document


async def records(*given: ExportUserResponse, whole: bool = True) -> AsyncIterator[ExportUserResponse]:
    """Yield records, and an end or an error."""
    for each in given:
        yield each
    if not whole:
        raise ConnectionError
    yield ExportUserResponse(end=ExportUserResponse.End(record_count=len(given)))


USER = ExportUserResponse(user=User(id="u", email="ann@example.com"))
ACCOUNTS = [ExportUserResponse(account=Account(id=name, provider="google")) for name in ("a", "b")]


async def test_there_is_a_list_for_each_kind_in_order() -> None:
    """Kinds of which nothing is kept have empty lists."""
    file = io.BytesIO()
    assert await write_document(file, records(USER, *ACCOUNTS)) == 3
    document = orjson.loads(file.getvalue())
    assert list(document) == [*LISTS.values(), "record_count"]
    assert document["users"] == [{"id": "u", "email": "ann@example.com"}]
    assert [account["id"] for account in document["accounts"]] == ["a", "b"]
    assert document["suppressions"] == []
    assert document["record_count"] == 3


async def test_what_is_cut_short_is_no_json() -> None:
    """Whoever finds such a file reads no part of it for whole."""
    file = io.BytesIO()
    with pytest.raises(ConnectionError):
        await write_document(file, records(USER, *ACCOUNTS, whole=False))
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(file.getvalue())


def test_every_kind_of_record_has_a_list() -> None:
    """A kind that the contract gets is written, too."""
    kinds = [field.name for field in ExportUserResponse.DESCRIPTOR.oneofs_by_name["record"].fields]
    assert kinds == [*LISTS, "end"]
