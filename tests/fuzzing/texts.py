"""Texts that break what was not made for them, by what is wrong with them."""

from __future__ import annotations

from typing import Final

# In every secret of every request: none of them may be told or logged.
SECRET: Final = "plantedsecret"
# In every hostile text: no body may be logged.
BODY: Final = "zqxbody"

HOSTILE: Final[dict[str, tuple[str, ...]]] = {
    "NUL": ("\0", "a\0b", "\0" * 40, "%00", "a\0@example.com"),
    "right-to-left": ("\u202egpj.exe\u202c", "\u2067\u05e9\u05dc\u05d5\u05dd\u2069", "\u200f", "\u061c" * 30),
    "emoji": (
        "\U0001f469\u200d\U0001f469\u200d\U0001f467",
        "\U0001f3f4" * 63,
        "\U0001f600" * 255,
        "a\ufe0f\u20e3",
    ),
    "SQL": (
        "' OR '1'='1",
        "'; DROP TABLE users; -- ",
        "\\' OR 1=1 -- ",
        '" UNION SELECT password FROM accounts -- ',
        "1; SELECT SLEEP(30)",
        "`users`",
        "%_\\%",
        "%s %(id)s :id ?",
        "\x1a\\",
    ),
    "$-operators": (
        '{"$gt": ""}',
        "$where",
        "$$ROOT",
        "a.$[]",
        "userId.$ne",
        "__proto__",
        "{$regex: '.*'}",
        ".",
        "$",
        "a.b.c",
    ),
    "templates": ("{{7*7}}", "{% raw %}", "${7*7}", "%n%x", "{0.__class__}", "<script>alert(1)</script>", "&#0;"),
    "controls": ("\r\nBcc: eve@example.com", "\n.\r\nQUIT\r\n", "\x1b[2J", "\x7f", "\x85", "\u2028", "\t \t"),
    "spellings": (
        "\ufeff",
        "\uffff",
        "\U0010ffff",
        "e" + "\u0301" * 120,
        "\u0130",
        "\u00df",
        "\ufb00",
        "\u212a",
        "\u3164",
        "\u00ad",
        "A\u030a",
    ),
    "places": (
        "../../../etc/passwd",
        "file:///etc/passwd",
        "http://169.254.169.254/latest",
        "https://[::1]:1/",
        "https://127.0.0.1\\@example.com/",
        "xn--",
        "a@b@c",
        "@",
        "//",
    ),
    "numerals": ("9" * 400, "-0", "1e999", "NaN", "\u0663", "\u00b2", "0x1F", "1_000", "", " "),
}

# What no text may hold on the wire: bytes that are no UTF-8 (RFC 3629), a surrogate and an overlong form among them.
NOT_UTF8: Final = (
    b"\xff",
    b"\x80",
    b"\xc3",
    b"\xc0\xaf",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"ann\xe9@example.com",
)

MASKS: Final[tuple[tuple[str, ...], ...]] = (
    ("*",),
    ("",),
    ("id",),
    ("password", "password_hash"),
    ("name", "name"),
    ("NAME",),
    ("a.b.c.d",),
    ("$set",),
    ("user.email", "notification.title"),
    ("..",),
    (BODY * 1_000,),
    tuple(f"{BODY}{number}" for number in range(3_000)),
)

# Keys of a JSON object that databases and programs may take for something else.
KEYS: Final = ("$where", "a.b", "", "\0", "_id", "__proto__", "constructor", "$", "\u202e", BODY * 50)

METADATA: Final[tuple[tuple[tuple[str, str | bytes], ...], ...]] = (
    (("x-request-id", "'; DROP TABLE users"),),
    (("x-request-id", "a" * 4_000),),
    (("x-request-id", "{{7*7}}\\r\\n"),),
    (("x-request-id", ""),),
    (("accept-language", ",".join(f"x{number}" for number in range(600))),),
    (("accept-language", "de;q=1e999,*;q=NaN,;;;,en-US;q=-1"),),
    (("accept-language", "en" * 1_000),),
    (("accept-language", "../../etc/passwd"),),
    (("authorization", f"Bearer {SECRET}.{SECRET}.{SECRET}"),),
    (("authorization", "Basic \\x00"),),
    (("traceparent", "00-00000000000000000000000000000000-0000000000000000-01"),),
    (("traceparent", "ff-zz"), ("tracestate", "a=" + "b" * 600)),
    (("vibework-max-staleness-ms", "9" * 100),),
    (("vibework-max-staleness-ms", "-1"),),
    (("vibework-max-staleness-ms", "NaN"),),
    (("vibework-max-staleness-ms", "\\u0663"),),
    (("x-bin", bytes(range(256))),),
    (("grpc-status-details-bin", b"\xff" * 100),),
    tuple((f"x-{number}", "y" * 20) for number in range(100)),
    (("x-large", "y" * 9_000),),
    (("x-too-large", "y" * 20_000),),
    (("grpc-previous-rpc-attempts", "99999999999999999999"),),
    (("x-forwarded-for", "127.0.0.1, ::1, \\x00"),),
)
