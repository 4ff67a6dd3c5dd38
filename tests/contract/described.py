"""The contract as `buf` reads it: the descriptors of our .proto files and of what they import, with their comments."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

ROOT: Final = Path(__file__).parents[2]
PROTOS: Final = ROOT / "protos"
OWN: Final = "vibework"
BUF: Final = Path(sys.executable).parent / "buf"


def sources() -> list[str]:
    """Return our own .proto files, by the names under which they are imported."""
    return sorted(path.relative_to(PROTOS).as_posix() for path in (PROTOS / OWN).rglob("*.proto"))


@cache
def all_files() -> dict[str, FileDescriptorProto]:
    """Return all files by name, each after what it imports."""
    built = subprocess.run([BUF, "build", "-o", "-"], cwd=PROTOS, stdout=subprocess.PIPE, check=True)
    return {file.name: file for file in FileDescriptorSet.FromString(built.stdout).file}


@cache
def pool() -> DescriptorPool:
    """Return a pool that knows all files, the rules included; the stubs' own pool has no name for rules."""
    known = DescriptorPool()
    for file in all_files().values():
        known.Add(file)
    return known


def with_rules(described: Message) -> Message:
    """Return the same options, or any part of a descriptor, with rules that have names."""
    known: Any = GetMessageClass(pool().FindMessageTypeByName(described.DESCRIPTOR.full_name))
    read: Message = known.FromString(described.SerializeToString())
    return read
