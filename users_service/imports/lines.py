"""Files of users: one ``ImportedUser`` in proto JSON on each line, read a batch at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final, TypeAlias

import orjson
from google.protobuf import json_format
from vibework.users.v1.imported_user_pb2 import ImportedUser

# Lines, and bytes, of a batch: so much is in memory, however long the file is.
LINES: Final = 500
BYTES: Final = 4 << 20
# Bytes of a line: more than any user takes whom the contract allows.
LONGEST: Final = 4 << 20
_MARK: Final = b"\xef\xbb\xbf"
# The places that json_format names; the rest of its texts repeats what stands in the line.
_FIELD: Final = re.compile(r"Failed to parse (\w{1,64}) field")
_UNKNOWN: Final = re.compile(r'has no field named "(\w{1,64})"')


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file, and its number from 1 on; no content: it is too long."""

    number: int
    content: bytes | None


@dataclass(frozen=True, slots=True)
class LineProblem:
    """Why a line says no user, and the field at fault where that is known."""

    text: str
    field: str = ""


Parsed: TypeAlias = ImportedUser | LineProblem


class Lines:
    """Reads a file; ``first``: the number of the line to begin with. Empty lines are passed over."""

    def __init__(self, file: BinaryIO, first: int = 1) -> None:
        self._found = self._read(file, first)

    def batch(self) -> list[Line]:
        """Return the next lines; none at the end. It waits for whoever writes the file, so call it in a thread."""
        lines, size = list[Line](), 0
        for line in self._found:
            lines.append(line)
            size += len(line.content or b"")
            if len(lines) == LINES or size >= BYTES:
                break
        return lines

    @staticmethod
    def _read(file: BinaryIO, first: int) -> Iterator[Line]:
        for number, content in enumerate(_contents(file), 1):
            if number < first:
                continue
            if content is None or content.strip():
                yield Line(number, content)


def _contents(file: BinaryIO) -> Iterator[bytes | None]:
    begins = True
    while content := file.readline(LONGEST + 1):
        if len(content) > LONGEST and not content.endswith(b"\n"):
            while (more := file.readline(LONGEST)) and not more.endswith(b"\n"):
                pass
            yield None
        else:
            yield content.removeprefix(_MARK) if begins else content
        begins = False


def parse(line: Line) -> Parsed:
    """Read the user of a line. A problem repeats nothing of the line but names of fields: it may hold secrets."""
    if line.content is None:
        return LineProblem(f"the line has more than {LONGEST} bytes")
    try:
        values = orjson.loads(line.content)
    except orjson.JSONDecodeError as error:
        return LineProblem(f"no JSON at character {error.colno}")
    if not isinstance(values, dict):
        return LineProblem("no JSON object")
    try:
        return json_format.ParseDict(values, ImportedUser())
    except json_format.ParseError as error:
        text = str(error)
        unknown = _UNKNOWN.search(text)
        where = ".".join([*_FIELD.findall(text), *([unknown[1]] if unknown else [])])
        return LineProblem("ImportedUser has no such field" if unknown else "no value of the field", where)
