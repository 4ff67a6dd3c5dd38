"""TLS handshakes with a database that failed, in words for whoever runs the service.

Drivers hand on the text of Python's ``ssl`` inside of their own, some of them nothing else. It may name hosts; what is
told has OpenSSL's words for what is wrong with a certificate, or ours.
"""

from __future__ import annotations

import re
from typing import Final

# As in: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006).
_FAILURE: Final = re.compile(r"\[SSL: (\w+)\] (?:certificate verify failed: )?([^([]*)")
_UNTRUSTED: Final = "CERTIFICATE_VERIFY_FAILED"
# Of a connection that ended; it says nothing of TLS unless the driver says that it did so in the handshake.
_ENDED: Final = "UNEXPECTED_EOF_WHILE_READING"
_RESET: Final = "Connection reset by peer"
_IN_THE_HANDSHAKE: Final = "SSL handshake failed"
# asyncio has no words for a connection that the other end gave up in the handshake, nor for a handshake that took too
# long; of these two the driver calls the second one a timeout.
_NO_WORDS: Final = re.compile(_IN_THE_HANDSHAKE + r": \S+:\s*(?:\(configured timeouts|, Timeout|$)")
_TIMED_OUT: Final = "NetworkTimeout"
_NO_TLS: Final = "the server ended the connection in the handshake: it may have no TLS"
# "Hostname mismatch, certificate is not valid for 'mysql.internal'."
_OTHER_HOST: Final = "mismatch, certificate is not valid for"


def handshake_problem(error: Exception) -> str:
    """Return why there is no TLS with the server, where the text of a driver's error says so; else nothing."""
    text = str(error)
    found = _FAILURE.search(text)
    if found is None:
        reset = _IN_THE_HANDSHAKE in text and _RESET in text
        gave_up = _NO_WORDS.search(text) is not None and _TIMED_OUT not in repr(error)
        return _NO_TLS if reset or gave_up else ""
    if found[1] == _ENDED:
        return _NO_TLS if _IN_THE_HANDSHAKE in text else ""
    if found[1] != _UNTRUSTED:
        return "the server speaks no TLS, or none that fits"
    if _OTHER_HOST in found[2]:
        return "the server's certificate is for another host"
    return f"the server's certificate does not hold ({found[2].strip()})"
