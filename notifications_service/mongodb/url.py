"""Connection strings: what one says without a name server, and what is wrong with one.

``mongodb+srv://`` names members by DNS. The driver looks them up when it connects. Whoever reads settings must not: a
name server that is away for a moment says nothing of the settings.
"""

from __future__ import annotations

import re
import ssl
import warnings
from typing import Any, Final

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from chassis.settings import unreadable

SRV: Final = "mongodb+srv://"
_PLAIN: Final = "mongodb://"
# Options that name files, of today and before, as they are written.
_FILES: Final = (
    *("tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile"),
    *("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_crlfile"),
)


def address_of(url: str) -> tuple[str, str, int]:
    """Return the database ("" if none is named), and the first host with its port; 0: the name of all members."""
    parsed = _parsed(url)
    host, port = parsed["nodelist"][0]
    return parsed["database"] or "", host, 0 if url.startswith(SRV) else port or 0


def problem_of(url: str) -> str:
    """Return what is wrong with a connection string, in words that repeat nothing of it; empty where all is well."""
    try:
        parsed = _parsed(url)
    except (PyMongoError, ValueError):
        # The driver's own text may repeat the URL, and with it the password.
        return "not a MongoDB connection string"
    if not parsed["database"]:
        return "the connection string names no database (…/vibe_notifications)"
    given = {option.lower(): value for option, value in parsed["options"].items()}
    for option in _FILES:
        if (path := given.get(option.lower())) is not None and (why := unreadable(path)):
            return f"{option}: {why}"
    return _refused(url)


def _refused(url: str) -> str:
    """Return what the driver refuses when it makes a client, for which it connects to nobody."""
    try:
        with warnings.catch_warnings(action="ignore"):
            AsyncMongoClient[Any](url)
    except ssl.SSLError:
        return "a certificate or key that its options name cannot be used"
    except (PyMongoError, ValueError, TypeError, OSError) as error:
        return f"its options cannot be used together ({type(error).__name__})"
    return ""


def _parsed(url: str) -> dict[str, Any]:
    found: dict[str, Any] = parse_uri(_without_srv(url), validate=False, normalize=False)
    return found


def _without_srv(url: str) -> str:
    """Return the same connection string without look-ups: as one of a host, and without options on looking up."""
    if not url.startswith(SRV):
        return url
    place, _, options = url.removeprefix(SRV).partition("?")
    kept = [option for option in re.split("[&;]", options) if not option.lower().startswith("srv")]
    return f"{_PLAIN}{place}?{'&'.join(kept)}" if any(kept) else f"{_PLAIN}{place}"
