"""Another package's `buf.validate`, for processes that have one besides our stubs."""

from __future__ import annotations

from typing import Final

# Declares rules as no version of protovalidate does, where generated code of another package would.
FOREIGN_RULES: Final = """
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import Default

foreign = FileDescriptorProto(name="buf/validate/validate.proto", package="buf.validate", syntax="proto2")
foreign.dependency.append("google/protobuf/descriptor.proto")
foreign.message_type.add(name="FieldRules").field.add(name="other", number=14, type=9, label=1)
foreign.extension.add(
    name="field", number=1159, type=11, label=1,
    type_name=".buf.validate.FieldRules", extendee=".google.protobuf.FieldOptions",
)
Default().AddSerializedFile(foreign.SerializeToString())
"""
