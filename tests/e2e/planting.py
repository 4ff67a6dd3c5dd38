"""Secrets that are planted: in every setting that holds one, and in every field that the contract calls a secret.

Both are found by what declares them, the settings' classes and ``debug_redact`` in the contract, so that one that is
new is planted, and looked for, without a word here.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor
from google.protobuf.descriptor_pool import Default
from google.protobuf.message import Message
from pydantic import BaseModel

from notifications_service.settings import DeliverSettings
from notifications_service.settings import Settings as NotificationsSettings
from tests.harness.patience import PATIENCE_SECONDS
from tests.harness.workers import children
from users_service.settings import MigrationSettings
from users_service.settings import Settings as UsersSettings

SETTINGS: Final[tuple[type[BaseModel], ...]] = (
    UsersSettings,
    MigrationSettings,
    NotificationsSettings,
    DeliverSettings,
)
# Files whose content is a secret.
OF_FILES: Final = ("_key_file", "_token_file")
# Settings that hold keys, with the encoding of these; a key has a name before it.
FORMS: Final = {"secret_keys": "base64", "unsubscribe_keys": "base64", "web_push_keys": "base64url"}
# How often command lines are read. What a Python of ours starts is written down besides, when it starts.
LOOK_SECONDS: Final = 0.02
HOOK: Final = """
import sys
def note(event, arguments):
    if event in {{"subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"}}:
        with open({file!r}, "a") as file:
            file.write(f"{{event}} {{arguments[:2]}}\\n")
sys.addaudithook(note)
"""
# The fields that lead to a secret.
Way = tuple[FieldDescriptor, ...]


def names_of_secrets() -> list[str]:
    """Return the settings that are secrets."""
    fields = {name: field.annotation for settings in SETTINGS for name, field in settings.model_fields.items()}
    return sorted(name for name, annotation in fields.items() if "SecretStr" in str(annotation))


def names_of_secret_files() -> list[str]:
    """Return the settings that name files with secrets."""
    return sorted({name for settings in SETTINGS for name in settings.model_fields if name.endswith(OF_FILES)})


def planted_key(encoding: str) -> str:
    """Return 32 bytes that nothing else has, as keys are written in settings."""
    made = secrets.token_bytes(32)
    return base64.b64encode(made).decode() if encoding == "base64" else _base64url(made)


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def spellings(value: str | bytes) -> set[str]:
    """Return how a secret may stand in a text: as it is, in base64, and in hexadecimal digits."""
    raw = value.encode() if isinstance(value, str) else value
    encoded = {base64.b64encode(raw).decode().rstrip("="), _base64url(raw), raw.hex()}
    return encoded | ({value} if isinstance(value, str) else set())


@dataclass
class Secrets:
    """The secrets of a run, each under a name that a failure shows in its place."""

    known: dict[str, set[str]] = field(default_factory=dict)

    def add(self, name: str, value: str | bytes) -> None:
        """Keep a secret; what is shorter than a code of six digits is none."""
        if len(value) >= 6:
            self.known.setdefault(name, set()).update(spellings(value))

    def found(self, places: Mapping[str, str]) -> list[str]:
        """Return which stand where."""
        return [
            f"{name} in {place}"
            for place, text in places.items()
            for name, values in self.known.items()
            if any(_stands(value, text) for value in values)
        ]


def _stands(value: str, text: str) -> bool:
    if not value.isdigit():
        return value in text
    # Digits within longer ones, as in a time, are not the code.
    before = after = ""
    at = text.find(value)
    while at >= 0:
        before, after = text[max(0, at - 1) : at], text[at + len(value) : at + len(value) + 1]
        if not (before.isalnum() or after.isalnum() or before == "." or after == "."):
            return True
        at = text.find(value, at + 1)
    return False


def secret_paths(kind: Descriptor, within: tuple[str, ...] = ()) -> Iterator[Way]:
    """Yield the ways to the fields of a message that the contract calls secrets."""
    for each in kind.fields:
        if each.GetOptions().debug_redact:
            yield (each,)
        elif each.message_type is not None and each.message_type.full_name not in within:
            inner = each.message_type
            for rest in secret_paths(inner, (*within, kind.full_name)):
                yield (each, *rest)


def values_at(message: Message, path: Way) -> list[str | bytes]:
    """Return what stands at the end of a way."""
    first, *rest = path
    value: Any = getattr(message, first.name)
    if first.message_type is not None and first.message_type.GetOptions().map_entry:
        return list(value.values())
    held = list(value) if first.is_repeated else [value]
    if rest:
        return [found for each in held for found in values_at(each, tuple(rest))]
    if first.message_type is None:
        return held
    return [text for each in held for _, text in each.ListFields() if isinstance(text, str)]


def plant(message: Message, path: Way, value: str) -> None:
    """Put a secret at the end of a way, on which messages are made."""
    first, *rest = path
    if first.message_type is not None and first.message_type.GetOptions().map_entry:
        getattr(message, first.name)["code"] = value
    elif first.message_type is None:
        setattr(message, first.name, value.encode() if first.type == FieldDescriptor.TYPE_BYTES else value)
    else:
        held: Any = getattr(message, first.name)
        inner = (held[0] if held else held.add()) if first.is_repeated else held
        if rest:
            plant(inner, tuple(rest), value)
            return
        for each in first.message_type.fields:
            if each.type == FieldDescriptor.TYPE_STRING:
                setattr(inner, each.name, value)


@dataclass
class Caller:
    """Calls by name, with JSON; keeps the secrets of requests and answers, and what is said of calls that fail."""

    channel: grpc.Channel
    package: str
    secrets: Secrets
    token: str
    errors: list[str] = field(default_factory=list)

    def method(self, name: str) -> MethodDescriptor:
        """Return a method by ``Service/Method``."""
        service, _, method = name.partition("/")
        found: MethodDescriptor = Default().FindServiceByName(f"{self.package}.{service}").methods_by_name[method]
        return found

    def __call__(self, name: str, request: Mapping[str, Any]) -> Any:
        """Make a call, which is answered."""
        answer = self.send(name, self._request(name, request))
        assert answer is not None, self.errors[-1]
        return answer

    def refused(self, name: str, request: Mapping[str, Any]) -> None:
        """Make a call, which is not."""
        assert self.send(name, self._request(name, request)) is None

    def _request(self, name: str, request: Mapping[str, Any]) -> Message:
        kind = message_factory.GetMessageClass(self.method(name).input_type)
        return json_format.ParseDict(dict(request), kind())

    def send(self, name: str, request: Message) -> Any:
        """Make a call with a message; None where it fails; of a stream the first answer will do."""
        method = self.method(name)
        self._keep(request)
        answer_class: Any = message_factory.GetMessageClass(method.output_type)
        make: Any = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        invoke = make(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer_class.FromString,
        )
        metadata = (("authorization", f"Bearer {self.token}"),)
        try:
            answer = invoke(request, timeout=PATIENCE_SECONDS, metadata=metadata)
            if method.server_streaming:
                call, answer = answer, next(answer)
                call.cancel()
        except grpc.RpcError as error:
            self.errors.append(f"{error} {error.trailing_metadata()}")
            return None
        self._keep(answer)
        return answer

    def _keep(self, message: Message) -> None:
        described: Any = message.DESCRIPTOR
        for path in secret_paths(described):
            for value in values_at(message, path):
                self.secrets.add(path[-1].full_name, value)

    def plant_everywhere(self, requests: Mapping[str, tuple[dict[str, Any], str]]) -> set[str]:
        """Call each method once for each secret that it takes, and with that; return the names of their fields."""
        planted = set()
        for name, (request, _) in requests.items():
            for path in secret_paths(self.method(name).input_type):
                message = self._request(name, request)
                plant(message, path, f"PLANTED{secrets.token_hex(8)}")
                self.send(name, message)
                planted.add(path[-1].full_name)
        return planted


class CommandLines:
    """The command lines of a process tree, as anybody on the machine reads them in ``/proc``."""

    def __init__(self, folder: Path) -> None:
        """``folder``: where to put what writes down the programs that Pythons start."""
        self.seen: set[str] = set()
        self._started = folder / "started"
        (folder / "sitecustomize.py").write_text(HOOK.format(file=str(self._started)))

    @contextmanager
    def watching(self, root: int) -> Iterator[None]:
        """Read them again and again, of all below a process, until the context ends."""
        ended = threading.Event()

        def look() -> None:
            while not ended.wait(LOOK_SECONDS):
                self.seen.update(_lines_below(root))

        thread = threading.Thread(target=look, name="command lines")
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def text(self) -> str:
        """Return all that was seen, and all that was started."""
        started = self._started.read_text() if self._started.exists() else ""
        return "\n".join([*sorted(self.seen), started])


def _lines_below(root: int) -> Iterable[str]:
    for process in _below(root):
        with contextlib.suppress(OSError):
            yield (Path("/proc") / str(process) / "cmdline").read_text(errors="replace").replace("\0", " ")


def _below(root: int) -> Iterator[int]:
    found: set[int] = set()
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for thread in Path(f"/proc/{root}/task").iterdir():
            found |= children(root, int(thread.name))
    for child in found:
        yield child
        yield from _below(child)
