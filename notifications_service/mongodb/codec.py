"""Decoding of documents."""

from __future__ import annotations

from typing import Any, Final

from bson.codec_options import CodecOptions, DatetimeConversion

Document = dict[str, Any]

# A date out of Python's range, or text that is not UTF-8, must make only its own row unreadable.
CODEC_OPTIONS: Final[CodecOptions[Document]] = CodecOptions(
    tz_aware=False,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)
