"""Conversion of a caller's JSON object, as stored, to a ``google.protobuf.Struct``.

``Struct.update`` takes twice as long: it tests the type of each value in turn, in Python, and needs a dict of plain
values, into which a stored object would first have to be converted.
"""

from __future__ import annotations

from typing import Any, Final

from bson import DBRef
from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

from chassis.contract.nesting import MAX_LEVELS

_NUMBERS: Final = (int, float)


def write(target: Struct, value: object, levels: int = MAX_LEVELS) -> None:
    """Write a stored object into an empty Struct; ``levels``: how many levels it may have.

    Raises TypeError or ValueError for a value that JSON does not have, and for more levels.
    """
    # The driver makes a DBRef of an object whose first key is `$ref`; to a caller it is an object like any other.
    found: Any = value.as_doc() if isinstance(value, DBRef) else value
    if not isinstance(found, dict):
        raise TypeError(f"a {type(value).__name__} is no object")
    if not levels:
        raise ValueError("too many levels")
    # An empty object is one, too.
    target.SetInParent()
    fields = target.fields
    for key, item in found.items():
        _write(fields[key], item, levels - 1)


def _write(target: Value, item: object, levels: int) -> None:  # noqa: C901 - a case for each kind of JSON
    if isinstance(item, str):
        target.string_value = item
    elif item is None:
        target.null_value = NULL_VALUE
    elif isinstance(item, bool):
        target.bool_value = item
    elif isinstance(item, _NUMBERS):
        if item - item:
            raise ValueError("JSON has no NaN and no infinity")
        target.number_value = item
    elif isinstance(item, list):
        if not levels:
            raise ValueError("too many levels")
        values = target.list_value.values
        target.list_value.SetInParent()
        for element in item:
            _write(values.add(), element, levels - 1)
    else:
        write(target.struct_value, item, levels)
