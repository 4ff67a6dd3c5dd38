"""Key sources: where the key set of an issuer is read from, and read again: a file, or an address (https)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

from chassis.access.files import stamp_of
from chassis.access.keysets import MOST_BYTES, KeySet, KeySetWrong, parse
from chassis.logs import logging
from chassis.settings import AccessSettings, WrongSetting, unreadable

# How often an address is asked, and a file is looked at.
REFRESH_SECONDS: Final = 300.0
FILE_LOOK_SECONDS: Final = 1.0
# After a failure, and after a token named a key that is not there: no more often than this.
ASK_AGAIN_SECONDS: Final = 60.0
# How long the last good set serves while none can be read.
LAST_GOOD_SECONDS: Final = 24 * 3600.0
# How long an address may take.
FETCH_SECONDS: Final = 5.0

if TYPE_CHECKING:
    import aiohttp

log = logging.get("chassis.access")


class KeySource(Protocol):
    """Reads a key set."""

    async def read(self) -> bytes | None:
        """Return it; None: it is the one of the last time. Raises KeySetWrong."""


class Keys:
    """The newest key set that could be read. ``now``: a monotonic clock, in seconds.

    ``changed`` is called after each change with the new set. ``pause``: seconds between two reads.
    """

    def __init__(self, source: KeySource, *, pause: float, now: Callable[[], float] = monotonic) -> None:
        self._source = source
        self._pause = pause
        self._now = now
        self._current: KeySet = {}
        self._good_at: float | None = None
        self._asked_at: float | None = None
        self._wanted = asyncio.Event()
        self._told = ""
        self.changed: Callable[[KeySet], object] = lambda _: None

    @property
    def age(self) -> float | None:
        """Seconds since the set was last confirmed; None: there never was one."""
        return None if self._good_at is None else self._now() - self._good_at

    @property
    def current(self) -> KeySet:
        """The keys by name."""
        return self._current

    def want(self) -> None:
        """Have the set read again, soon, because a token names a key that is not in it; no more than once a minute."""
        if self._may_ask():
            self._wanted.set()

    async def refresh(self) -> None:
        """Read the set; a failure is told, and leaves the last good one for ``LAST_GOOD_SECONDS``."""
        self._wanted.clear()
        self._asked_at = self._now()
        try:
            content = await self._source.read()
            if content is not None:
                self._take(parse(content))
            self._good_at = self._now()
            self._told = ""
        except KeySetWrong as error:
            self._tell(str(error))
            self._forget_the_old()

    async def run(self) -> NoReturn:
        """Read the set again and again, and when it is wanted."""
        while True:
            try:
                async with asyncio.timeout(self._pause_now()):
                    await self._wanted.wait()
            except TimeoutError:
                pass
            await self.refresh()

    def _pause_now(self) -> float:
        failed = self._good_at is None or self._good_at < (self._asked_at or 0.0)
        return min(self._pause, ASK_AGAIN_SECONDS) if failed else self._pause

    def _tell(self, why: str) -> None:
        """Log a failure once, not at every attempt until it is mended."""
        if why != self._told:
            log.warning("key set not read", why=why, last_one_serves=bool(self._current))
        self._told = why

    def _may_ask(self) -> bool:
        return self._asked_at is None or self._now() - self._asked_at >= ASK_AGAIN_SECONDS

    def _take(self, keys: KeySet) -> None:
        if keys != self._current:
            log.info("key set read", keys=len(keys))
            self._current = keys
            self.changed(keys)

    def _forget_the_old(self) -> None:
        if self._current and (self.age or 0.0) >= LAST_GOOD_SECONDS:
            log.error("key set too old; no token is accepted until it can be read")
            self._current = {}
            self.changed({})


class FileSource:
    """Reads a key set from a file, when the file has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: object = None

    async def read(self) -> bytes | None:
        """Return the content of the file; None: it has not changed. Raises KeySetWrong."""
        try:
            stamp = stamp_of(self._path)
            if stamp == self._stamp:
                return None
            with self._path.open("rb") as file:
                content = file.read(MOST_BYTES + 1)
        except OSError as error:
            raise KeySetWrong(f"the file cannot be read: {error.strerror}") from None
        parse(content)  # one that is wrong is read again, and told, until it is right
        self._stamp = stamp
        return content


class UrlSource:
    """Reads a key set from an address, over https alone, without following it elsewhere.

    ``authority``: the certificates to trust; None: those of the system. ``token``: a file with the bearer token to
    show, as Kubernetes' own issuer asks for; it is read each time, because it is renewed.
    """

    def __init__(self, url: str, authority: Path | None, token: Path | None) -> None:
        self._url = url
        self._authority = authority
        self._token = token

    async def read(self) -> bytes:
        """Return what is there. Raises KeySetWrong, without the words of the other end."""
        import aiohttp

        try:
            headers = {} if self._token is None else {"Authorization": f"Bearer {self._token.read_text().strip()}"}
            connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=self._authority))
            patience = aiohttp.ClientTimeout(total=FETCH_SECONDS)
            async with (
                aiohttp.ClientSession(connector=connector, timeout=patience) as session,
                session.get(self._url, headers=headers, allow_redirects=False) as answer,
            ):
                if answer.status != 200:
                    raise KeySetWrong(f"the address answers {answer.status}")
                return await _bounded(answer.content)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise KeySetWrong(f"the address cannot be read: {type(error).__name__}") from None


async def _bounded(body: aiohttp.StreamReader) -> bytes:
    """Read no more of an answer than a key set may have."""
    content = bytearray()
    # What has come at once may be more: as much as the loop takes from a connection.
    async for chunk in body.iter_chunked(MOST_BYTES):
        content += chunk
        if len(content) > MOST_BYTES:
            break
    return bytes(content)


def open_keys(settings: AccessSettings) -> Keys:
    """Return the keys that the settings name. Raises WrongSetting where a file of theirs cannot be used."""
    for name in ("jwks_ca_file", "jwks_token_file", "jwks_file"):
        if (path := getattr(settings, name)) is not None and (why := unreadable(path)):
            raise WrongSetting(f"{name.upper()}: {why}")
    if settings.jwks_file is None:
        _check_authority(settings.jwks_ca_file)
        source = UrlSource(settings.jwks_url, settings.jwks_ca_file, settings.jwks_token_file)
        return Keys(source, pause=REFRESH_SECONDS)
    try:
        parse(settings.jwks_file.read_bytes())
    except KeySetWrong as error:
        raise WrongSetting(f"JWKS_FILE: {error}") from None
    return Keys(FileSource(settings.jwks_file), pause=FILE_LOOK_SECONDS)


def _check_authority(path: Path | None) -> None:
    if path is None:
        return
    try:
        ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        raise WrongSetting("JWKS_CA_FILE: there is no certificate (PEM) in the file") from None
