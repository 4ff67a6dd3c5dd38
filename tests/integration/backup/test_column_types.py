"""Every column type of MySQL and MariaDB: its values come back byte for byte, or there is no backup."""

from __future__ import annotations

import math
import random
import struct
from pathlib import Path
from typing import Final

import pytest
from asyncmy.errors import MySQLError

from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MySQLDatabase, in_own_thread, run_mysql
from tests.harness.statements import connected
from tests.integration.backup.commands import mysql_content, one_line, rows, succeeded, users


def any_doubles(number: int) -> list[float]:
    """Return numbers whose bits were thrown, the same each time."""
    bits = random.Random(14)
    thrown = (struct.unpack("<d", bits.randbytes(8))[0] for _ in range(number))
    return [value for value in thrown if math.isfinite(value)]


POINT: Final = "ST_GeomFromText('POINT(1.1 -2.2)', 4326)"
LINE: Final = "ST_GeomFromText('LINESTRING(0 0, 1.5 1, 2 2)')"
POLYGON: Final = "ST_GeomFromText('POLYGON((0 0, 0 1, 1 1, 0 0))')"
POINTS: Final = "ST_GeomFromText('MULTIPOINT(0 0, 1 1)')"
LINES: Final = "ST_GeomFromText('MULTILINESTRING((0 0, 1 1), (2 2, 3 3))')"
POLYGONS: Final = "ST_GeomFromText('MULTIPOLYGON(((0 0, 0 1, 1 1, 0 0)))')"
COLLECTION: Final = "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1), LINESTRING(0 0, 1 1))')"
# What text can do to SQL that quotes it badly, and what no other character set has.
TEXTS: Final = ("''", "'a\\'\\\\\\n;\\r\\n\\t-- \\0\\Z)'", "'%s größer 🎉'", "' trailing  '")
PLAIN_TEXTS: Final = ("''", "'a\\'\\n;'", "'plain  '")
BYTES: Final = ("X''", "X'00FF27275C0A1A'", "X'C328'")
FLOATS: Final = (
    "0",
    "-0e0",
    "0.1",
    "-1.17549435e-38",
    "3.40282347e38",
    "1.401298464324817e-45",
    "16777217",
    "123456.789",
    "2.7182818284590452",
)
DOUBLES: Final = (
    *FLOATS,
    "1.7976931348623157e308",
    "2.2250738585072014e-308",
    "5e-324",
    "0.30000000000000004",
    "9007199254740993",
    "-1e-5",
    "-2.2250738585072014e-308",
    "-1.2345678901234567e-50",
    "-1.2345678901234567e100",
    "-0.000012345678901234567",
    *(repr(value) for value in any_doubles(100)),
)

# The type, and values for it. Those that a server does not have are left out.
TYPES: Final[dict[str, tuple[str, ...]]] = {
    "BOOLEAN": ("0", "1", "127"),
    "TINYINT": ("-128", "127"),
    "TINYINT UNSIGNED": ("0", "255"),
    "SMALLINT": ("-32768", "32767"),
    "MEDIUMINT": ("-8388608", "8388607"),
    "INT": ("-2147483648", "2147483647"),
    "INTEGER(9) UNSIGNED ZEROFILL": ("0", "7", "4294967295"),
    "BIGINT": ("-9223372036854775808", "9223372036854775807"),
    "BIGINT UNSIGNED": ("0", "18446744073709551615"),
    "DECIMAL(65,30)": ("-99999999999999999999999999999999999.999999999999999999999999999999", "0.1"),
    "NUMERIC(10,0)": ("-1", "9999999999"),
    "FLOAT": FLOATS,
    "FLOAT(10,3)": ("1234567.125", "-0.001", "0"),
    "FLOAT UNSIGNED": ("0.1", "3.40282347e38"),
    "DOUBLE": DOUBLES,
    "DOUBLE PRECISION": ("0.1",),
    "DOUBLE(20,4)": ("1234567890.1234", "-0.0001"),
    "REAL": ("0.1", "-0e0"),
    **{f"BIT({length})": ("0", "1", f"b'1{'0' * (length - 1)}'") for length in (1, 7, 8, 9, 63, 64)},
    "DATE": ("'0000-00-00'", "'2026-00-00'", "'9999-12-31'", "'2026-02-31'"),
    "DATETIME": ("'0000-00-00 00:00:00'", "'1000-01-01 00:00:00'", "'9999-12-31 23:59:59'"),
    "DATETIME(6)": ("'2026-11-27 01:02:03.000001'",),
    "TIMESTAMP(6) NULL": ("'0000-00-00 00:00:00'", "'1970-01-01 00:00:01.000001'", "'2038-01-19 03:14:07.999999'"),
    "TIME(6)": ("'-838:59:59'", "'838:59:59'", "'00:00:00.000001'"),
    "YEAR": ("0", "1901", "2155"),
    "CHAR(20)": ("''", "'a\\n;'", "'🎉'"),
    "CHAR(0)": ("''",),
    "VARCHAR(200)": TEXTS,
    "VARCHAR(200) CHARACTER SET utf8mb3": ("'größer'", *PLAIN_TEXTS),
    "VARCHAR(50) CHARACTER SET ascii": PLAIN_TEXTS,
    "VARCHAR(50) CHARACTER SET latin1": ("X'E9A480'", *PLAIN_TEXTS),
    # Two codes of one character each: a conversion there and back changes the bytes.
    "VARCHAR(50) CHARACTER SET cp932": ("X'8790'", "X'81E0'", "X'FA54'", *PLAIN_TEXTS),
    "VARCHAR(50) CHARACTER SET sjis": ("X'835C'", *PLAIN_TEXTS),
    "VARCHAR(50) CHARACTER SET gbk": ("X'BF5C'", *PLAIN_TEXTS),
    "VARCHAR(50) CHARACTER SET big5": ("X'A45C'", *PLAIN_TEXTS),
    "VARCHAR(50) CHARACTER SET utf16": ("X'D83CDF89'", *PLAIN_TEXTS),
    "VARCHAR(50) CHARACTER SET utf32": ("X'0001F389'", *PLAIN_TEXTS),
    "VARCHAR(50) CHARACTER SET ucs2": ("X'00E9'", *PLAIN_TEXTS),
    "NCHAR(10)": ("'é'",),
    "TINYTEXT": TEXTS,
    "TEXT": TEXTS,
    "MEDIUMTEXT": TEXTS,
    "LONGTEXT": (*TEXTS, "REPEAT('x;\\n', 300000)"),
    "BINARY(9)": ("X''", "X'00FF27'"),
    "VARBINARY(20)": BYTES,
    "TINYBLOB": BYTES,
    "BLOB": BYTES,
    "MEDIUMBLOB": BYTES,
    "LONGBLOB": (*BYTES, "REPEAT(X'0A3B', 300000)"),
    # A value that the list does not have is stored as the number 0 where the server is not strict.
    "ENUM('', 'x', 'ß', 'a,b', 'it''s')": ("''", "'ß'", "'a,b'", "'it''s'", "0"),
    "ENUM('é') CHARACTER SET latin1": ("'é'",),
    "SET('p', 'q''', 'ß')": ("''", "'p,q'''", "'ß'"),
    "JSON": (
        '\'{"a": [1, 2.5, 1e100, null, "🎉\\\\n\\\\\\\\"], "": {}}\'',
        "'[]'",
        "'\"x\"'",
        "'18446744073709551615'",
    ),
    "GEOMETRY": (POINT, COLLECTION),
    "POINT": (POINT,),
    "LINESTRING": (LINE,),
    "POLYGON": (POLYGON,),
    "MULTIPOINT": (POINTS,),
    "MULTILINESTRING": (LINES,),
    "MULTIPOLYGON": (POLYGONS,),
    "GEOMETRYCOLLECTION": (COLLECTION,),
    "UUID": ("'123e4567-e89b-12d3-a456-426655440000'",),
    "INET4": ("'192.168.0.1'",),
    "INET6": ("'2001:db8::1'", "'::ffff:192.0.2.1'"),
    "VECTOR(3)": ("X'0000803F0000004000004040'",),
}
# Neither server takes these statements: a type that it does not have, or a character set.
NOT_HERE: Final = frozenset({1064, 1115, 4161, 1273, 1101, 4079})


def filled(database: MySQLDatabase, server: MySQLServer) -> dict[str, str]:
    """Make a table for each type that the server has, with its values; return the types by their tables."""
    made = {}
    for number, (kind, values) in enumerate(TYPES.items()):
        table = f"type_{number:02d}"
        create = f"CREATE TABLE {table} (id INT AUTO_INCREMENT PRIMARY KEY, v {kind})"
        # In no mode, so that all is stored that ever could be.
        insert = [f"INSERT IGNORE INTO {table} (v) VALUES ({value})" for value in ("NULL", *values)]
        modes = "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'", "SET NAMES utf8mb4", "SET time_zone = '+00:00'"
        try:
            run_mysql(server, [*modes, create], database=database.name)
        except MySQLError as error:
            if error.args[0] not in NOT_HERE:
                raise
            continue
        run_mysql(server, [*modes, *insert], database=database.name)
        assert len(rows(database, f"SELECT id FROM {table}")) == len(values) + 1, kind
        made[table] = kind
    return made


def as_stored(database: MySQLDatabase, table: str, kind: str) -> list[str]:
    """Return the values of a table: their bytes, or of numbers with a fraction the doubles that they are."""
    value = "CAST(v AS DOUBLE)" if kind.startswith(("FLOAT", "DOUBLE", "REAL")) else "HEX(v)"
    return [repr(row) for row in rows(database, f"SELECT id, {value} FROM {table} ORDER BY id")]


def definition(database: MySQLDatabase, table: str) -> str:
    """Return how a table is made."""
    return str(rows(database, f"SHOW CREATE TABLE {table}")[0][1])


@pytest.mark.long
def test_values_of_every_type_come_back_byte_for_byte(
    mysql_database: MySQLDatabase, mysql_server: MySQLServer, tmp_path: Path, mysql_empty_database: MySQLDatabase
) -> None:
    """Extremes and oddities of each type are after a restore what they were, and so are the definitions."""
    made = filled(mysql_database, mysql_server)
    succeeded(users(mysql_database, "backup", tmp_path / "x.backup"))
    succeeded(users(mysql_empty_database, "restore", tmp_path / "x.backup"))
    for table, kind in made.items():
        assert as_stored(mysql_empty_database, table, kind) == as_stored(mysql_database, table, kind), kind
        assert definition(mysql_empty_database, table) == definition(mysql_database, table)
    assert len(made) >= len(TYPES) - 5


@pytest.mark.long
def test_no_type_of_the_server_is_forgotten(mysql_database: MySQLDatabase, mysql_server: MySQLServer) -> None:
    """Each word of the server's own grammar that makes a column makes one of a type whose values were tried above."""
    tried = {kind for _name, kind in columns_of(mysql_database, [f"v {kind}" for kind in TYPES])}
    words = [str(word) for (word,) in run_mysql(mysql_server, ["SELECT word FROM information_schema.keywords"])]
    plugins = "SELECT plugin_name FROM information_schema.plugins WHERE plugin_type = 'DATA TYPE'"
    words += [str(word) for (word,) in run_mysql(mysql_server, [plugins])]
    made = columns_of(mysql_database, [f"v {word}{rest}" for word in words for rest in ("", "(3)", "('a')")])
    assert {(name, kind) for name, kind in made if kind not in tried} == set()
    assert len(made) > len(tried)


def columns_of(database: MySQLDatabase, definitions: list[str]) -> list[tuple[str, str]]:
    """Return those definitions that the server takes for a column, and the name that it gives to the type."""

    async def find() -> list[tuple[str, str]]:
        found = []
        async with connected(database) as connection, connection.cursor() as cursor:
            for definition in definitions:
                try:
                    await cursor.execute(f"CREATE TEMPORARY TABLE tried (other INT, {definition})")
                except MySQLError:
                    continue
                await cursor.execute("SHOW COLUMNS FROM tried LIKE 'v'")
                found += [
                    (definition, str(row[1]).partition("(")[0].partition(" ")[0]) for row in await cursor.fetchall()
                ]
                await cursor.execute("DROP TEMPORARY TABLE tried")
        return found

    return in_own_thread(find)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("CREATE TABLE x (a INT) WITH SYSTEM VERSIONING", "x is a system versioned table"),
        ("CREATE SEQUENCE x", "x is a sequence table"),
        # Of MySQL, whose JSON has numbers that no text of JSON has; MariaDB's is text.
        (
            "CREATE TABLE x (id INT PRIMARY KEY, a JSON) SELECT 1 AS id, JSON_ARRAY(CAST(1.10 AS DECIMAL(5, 2))) AS a",
            "the values read of x are not those that the server has",
        ),
        ("CREATE TABLE x (a INT DEFAULT (LENGTH(';\n')))", "the definition of x has a line that ends with a semicolon"),
    ],
)
def test_what_cannot_come_back_is_refused_at_the_backup(
    mysql_database: MySQLDatabase, mysql_empty_database: MySQLDatabase, tmp_path: Path, statement: str, told: str
) -> None:
    """A table that a restore could not make is named in one line, and no file says that it is whole."""
    try:
        rows(mysql_database, statement)
    except MySQLError as error:
        pytest.skip(f"this server has none: error {error.args[0]}")
    result = users(mysql_database, "backup", tmp_path / "x.backup")
    if result.exit_code:
        assert told in one_line(result)
        assert list(tmp_path.iterdir()) == []
    else:
        succeeded(users(mysql_empty_database, "restore", tmp_path / "x.backup"))
        assert mysql_content(mysql_empty_database) == mysql_content(mysql_database)


@pytest.mark.long
def test_a_servers_own_modes_change_no_backup(
    mysql_database: MySQLDatabase,
    tmp_path: Path,
    mysql_empty_database: MySQLDatabase,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that quotes names and texts in a way of its own is asked in the usual one, at backup and restore."""
    rows(mysql_database, "CREATE TABLE `order` (`key` CHAR(5) DEFAULT 'a\\'b' COMMENT 'c\\\\d')")
    rows(mysql_database, "INSERT INTO `order` VALUES ('a\\\\'), ('b')")
    modes = "SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES,PAD_CHAR_TO_FULL_LENGTH', sql_quote_show_create = 0"
    monkeypatch.setattr(
        "users_service.mysql.engines.init_command", lambda: f"{modes}, NAMES utf8mb4, time_zone = '+00:00'"
    )
    succeeded(users(mysql_database, "backup", tmp_path / "x.backup"))
    succeeded(users(mysql_empty_database, "restore", tmp_path / "x.backup"))
    assert mysql_content(mysql_empty_database) == mysql_content(mysql_database)
