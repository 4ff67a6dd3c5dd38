"""What docs/retries.md says of repeating calls is what the contract and the errors say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, MethodDescriptorProto, MethodOptions

from chassis.access.errors import CallerRateLimited
from chassis.errors import RateLimited, ServiceError
from tests.contract.test_reasons import _comments, _documented, _errors, _import_everything

DOCUMENT = Path(__file__).parents[2] / "docs" / "retries.md"
ROW = re.compile(r"^\| ([A-Z_]+) \| ([A-Z_]+) \| (no|yes|it may have) \| (.+) \|$", re.MULTILINE)
LEVELS = {MethodOptions.NO_SIDE_EFFECTS: "yes, reads only", MethodOptions.IDEMPOTENT: "yes"}
Files = dict[str, FileDescriptorProto]
__all__ = ["_import_everything"]


def test_the_reasons_that_may_be_repeated_are_those_with_retry_info(files: Files) -> None:
    """A client that looks at RetryInfo and one that has the table do the same, and each code is the reason's."""
    comments, codes = _comments(files), _documented(files)
    told = {reason for reason, comment in comments.items() if "with RetryInfo" in comment}
    rows = {reason: code for reason, code, _, _ in ROW.findall(DOCUMENT.read_text())}
    # gRPC answers this one by itself, too, and then without details.
    assert set(rows) == told | {"DEADLINE_EXCEEDED"}
    assert rows == {reason: codes[reason] for reason in rows}


def test_errors_say_when_to_come_back_where_their_reason_does(files: Files) -> None:
    """A class has a pause exactly where its reason's comment promises RetryInfo."""
    promised = {reason for reason, comment in _comments(files).items() if "with RetryInfo" in comment}
    # The pause of these is a matter of their window.
    counting = (RateLimited, CallerRateLimited)
    paused = {error.reason for error in _errors(ServiceError) if error.default_retry_after or error in counting}
    raised = {error.reason for error in _errors(ServiceError)}
    assert paused == promised & raised


def test_every_rpc_has_its_row(files: Files) -> None:
    """Whether a call may be repeated is derived from its options and its request, and the table has the outcome."""
    expected = [f"| {service}.{name} | {may} |" for service, name, may in _repeats(files)]
    assert [line for line in DOCUMENT.read_text().splitlines() if line in expected] == expected


def test_an_rpc_that_only_reads_is_said_to(files: Files) -> None:
    """Names that promise it, by AIP-130: Get, BatchGet, List, Count, Watch and Export change nothing."""
    wrong = [
        method.name
        for _, method, _ in _methods(files)
        if re.match(r"(Get|BatchGet|List|Count|Watch|Export)[A-Z]", method.name)
        and method.options.idempotency_level != MethodOptions.NO_SIDE_EFFECTS
    ]
    assert wrong == []


def _repeats(files: Files) -> Iterator[tuple[str, str, str]]:
    for service, method, request in _methods(files):
        fields = {field.name for field in request.field}
        level = LEVELS.get(method.options.idempotency_level)
        yield service, method.name, level or ("with `request_id`" if "request_id" in fields else "no: read first")


def _methods(files: Files) -> Iterator[tuple[str, MethodDescriptorProto, DescriptorProto]]:
    for file in files.values():
        messages = {f".{file.package}.{message.name}": message for message in file.message_type}
        for service in file.service:
            for method in service.method:
                yield service.name, method, messages[method.input_type]
