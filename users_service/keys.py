"""The type of the columns by which rows are found, such as ids and addresses: they are equal only byte for byte."""

from __future__ import annotations

from typing import Any, cast

from sqlalchemy import BINARY, BinaryExpression, ColumnElement, String, and_, type_coerce
from sqlalchemy import cast as as_binary
from sqlalchemy.sql import operators


class Key(String):
    """Text that ``==`` compares whole.

    A collation may take more for equal: ``utf8mb4_bin`` pads with spaces, so that it finds ``user_1`` for ``user_1 ``;
    others, in databases that the service did not make, fold case and accents. The first comparison is the collation's,
    which has the index; the second is that of the bytes, on the row found.
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


def as_foreign_key(column: ColumnElement[str], id_: str) -> ColumnElement[bool]:
    """Compare as the foreign key does, with the id of a row that was read.

    For whoever removes that row: what the database takes for its children is in the way, however it is spelled.
    """
    return type_coerce(column, String) == id_
