"""The type of key columns, such as ids and addresses: their values are equal only byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from sqlalchemy import BINARY, BinaryExpression, ColumnElement, String, and_, type_coerce
from sqlalchemy import cast as as_binary
from sqlalchemy.sql import operators


class Key(String):
    """Text that ``==`` compares byte for byte.

    To a collation different texts may be equal: ``utf8mb4_bin`` ignores spaces at the end, others, in databases that
    the service did not create, ignore case and accents. So ``==`` makes two comparisons: the collation's, which uses
    the index, and one of the bytes, on the row found.
    """

    class comparator_factory(String.Comparator[str]):  # noqa: N801 - SQLAlchemy's name
        """Adds the bytes to comparisons for equality."""

        def operate(self, op: Any, *other: Any, **options: Any) -> ColumnElement[Any]:
            """Compare; every other operation is that of text."""
            compared = super().operate(op, *other, **options)
            if op is not operators.eq or other[0] is None:
                return compared
            value = cast("BinaryExpression[Any]", compared).right
            return and_(compared, as_binary(self.expr, BINARY) == as_binary(value, BINARY))


def among(column: ColumnElement[str], values: Sequence[str]) -> ColumnElement[bool]:
    """Say that a key is one of these, byte for byte: as for ``==``, the collation's comparison uses the index."""
    exactly = as_binary(column, BINARY).in_([value.encode() for value in values])
    return and_(column.in_(values), exactly)


def as_foreign_key(column: ColumnElement[str], id_: str) -> ColumnElement[bool]:
    """Compare as the foreign key does, with the id of a row that was read.

    For deleting the children of that row: the foreign key compares by collation, and so must the deletion.
    """
    return type_coerce(column, String) == id_
