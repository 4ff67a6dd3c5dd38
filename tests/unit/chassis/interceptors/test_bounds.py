"""Lists and maps that are far too long: refused like those that are a little too long, and as quickly."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from time import thread_time
from typing import Any

import pytest
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from chassis.errors import InvalidFields
from chassis.interceptors.bounds import Bounds
from chassis.interceptors.encoded_rules import ignores_items, is_ignored, most_items
from chassis.interceptors.validation import check_of
from tests.contract.fieldpaths import Path, method_of
from tests.contract.requests import REQUESTS

# In a message of 4 MiB there is room for ten times as many items of two bytes.
MANY = 200_000
_KEY = re.compile(r'\[".*?"\]')


def lists_of(descriptor: Descriptor, above: Path = ()) -> Iterator[Path]:
    """Yield every list and map of a request that has a bound, by the fields that lead there."""
    for field in descriptor.fields:
        if is_ignored(field):
            continue
        path = (*above, field)
        if most_items(field) is not None:
            yield path
        kind = field.message_type
        if kind is not None and not kind.GetOptions().map_entry and not ignores_items(field) and field not in above:
            yield from lists_of(kind, path)


def fill(request: Any, path: Path, number: int) -> None:
    """Give a list or a map so many items, which break what rules they have."""
    *before, last = path
    for field in before:
        items = getattr(request, field.name)
        request = (items[0] if items else items.add()) if field.is_repeated else items
    items = getattr(request, last.name)
    if last.message_type is not None and last.message_type.GetOptions().map_entry:
        items.update({str(each): "" for each in range(number)})
    elif last.message_type is not None:
        items.MergeFrom([message_factory.GetMessageClass(last.message_type)()] * number)
    else:
        items.extend(["" if last.type == FieldDescriptor.TYPE_STRING else 0] * number)


def refused(rpc: str, path: Path, number: int) -> tuple[Counter[tuple[str, str]], float]:
    """Return the violations of a request with so many items, and the processor time that finding them took."""
    request_class = message_factory.GetMessageClass(method_of(rpc).input_type)
    check = check_of(request_class)
    request = json_format.ParseDict(REQUESTS[rpc][0], request_class())
    fill(request, path, number)
    begun = thread_time()
    with pytest.raises(InvalidFields) as caught:
        check(request)
    seconds = thread_time() - begun
    # A map is in no order, so any of its keys may be left.
    return Counter((_KEY.sub("", each.field), each.reason) for each in caught.value.violations), seconds


CASES = [(rpc, path) for rpc in REQUESTS for path in lists_of(method_of(rpc).input_type)]


@pytest.mark.sampled(12)
@pytest.mark.parametrize(("rpc", "path"), CASES, ids=[f"{rpc}-{path[-1].name}-{len(path)}" for rpc, path in CASES])
def test_a_list_far_too_long_costs_what_one_too_long_does(rpc: str, path: Path) -> None:
    """Every list of every request: so many items that each would cost a second are refused as one too many are."""
    most = most_items(path[-1])
    assert most is not None
    one_more, _ = refused(rpc, path, most + 1)
    many, seconds = refused(rpc, path, MANY)
    assert many == one_more
    assert any(reason in {"REPEATED_MAX_ITEMS", "MAP_MAX_PAIRS"} for _, reason in many)
    # 0.2 s for the 1,001 items of a batch; without the bound 5 s and more, and minutes where items are compared.
    assert seconds < 2


def test_what_may_be_is_not_cut() -> None:
    """A request with as many items as may be is taken whole, and one item more is told by the rule."""
    rpc = "vibework.users.v1.UserService/BatchGetUsers"
    request = message_factory.GetMessageClass(method_of(rpc).input_type)()
    request.ids.extend(f"user_{number}" for number in range(1_000))  # type: ignore[attr-defined]
    before = request.SerializeToString()
    check_of(type(request))(request)
    assert request.SerializeToString() == before


def test_what_no_rule_looks_at_is_left_alone() -> None:
    """Items that are judged each by itself, later, are not cut with the list that they stand in."""
    rpc = "vibework.users.v1.UserService/ImportUsers"
    request: Any = message_factory.GetMessageClass(method_of(rpc).input_type)()
    user = request.users.add()
    for _ in range(60):
        user.accounts.add()
    assert not Bounds(request.DESCRIPTOR).exceeded(request)
