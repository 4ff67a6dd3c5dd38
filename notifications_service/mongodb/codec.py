"""How documents are decoded."""

from __future__ import annotations

from typing import Any, Final

from bson.codec_options import CodecOptions, DatetimeConversion

Document = dict[str, Any]

# A date beyond what Python holds, or text that is not UTF-8, must spoil its own row, never the whole batch.
CODEC_OPTIONS: Final[CodecOptions[Document]] = CodecOptions(
    tz_aware=False,
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
    unicode_decode_error_handler="replace",
)
