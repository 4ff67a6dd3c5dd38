"""Putting access together: what the settings ask for, as gates of a server, and its work beside the calls."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

from chassis.access.errors import CallerUnknown
from chassis.access.files import stamp_of
from chassis.access.identities import Identities
from chassis.access.key_sources import FETCH_SECONDS, Keys, open_keys
from chassis.access.policy import Policy, PolicyWrong, read
from chassis.access.service_tokens import Expected, ServiceTokens
from chassis.context.calls import Call
from chassis.logs import logging
from chassis.settings import ServerSettings, WrongSetting

POLICY_LOOK_SECONDS: Final = 1.0

log = logging.get("chassis.access")


class PolicyInForce:
    """The newest policy that could be read from a file; one that is wrong leaves the last good one in force.

    ``stale``: whether the file has a newer one that cannot be used. Raises WrongSetting where there is none yet.
    """

    def __init__(self, path: Path, methods: Iterable[str]) -> None:
        self._path = path
        self._methods = tuple(methods)
        self.stale = False
        try:
            self._stamp: object = stamp_of(path)
            self.current: Policy = read(path, self._methods)
        except OSError:
            raise WrongSetting("ACCESS_POLICY_FILE: there is no such file") from None
        except PolicyWrong as error:
            raise WrongSetting(f"ACCESS_POLICY_FILE: {error}") from None

    def admit(self, caller: str, method: str) -> None:
        """Count a call, or raise CallerForbidden or CallerRateLimited."""
        self.current.admit(caller, method)

    def admit_unlisted(self, caller: str, method: str) -> None:
        """Do the same for a method that does not exist."""
        self.current.admit_unlisted(caller, method)

    def look(self) -> None:
        """Read the file again if it has changed."""
        try:
            if (stamp := stamp_of(self._path)) == self._stamp:
                return
            self._stamp = stamp
            self.current = read(self._path, self._methods)
        except (OSError, PolicyWrong) as error:
            self._tell(error)
        else:
            self.stale = False
            log.info("access policy read", rules=len(self.current.rules))

    def _tell(self, error: OSError | PolicyWrong) -> None:
        why = str(error) if isinstance(error, PolicyWrong) else "the file cannot be read"
        if isinstance(error, OSError):
            if self._stamp is None:
                return  # told before
            self._stamp = None
        self.stale = True
        log.error("access policy not read; the last one stays in force", why=why)


class Access:
    """What decides about callers, as the settings say; without any of them it decides nothing, and costs nothing.

    ``identify``: names the caller of a call, None where nobody asks. ``policy``: None where there is none.
    """

    def __init__(self, settings: ServerSettings, methods: Iterable[str]) -> None:
        """``methods``: full names of what the server has. Raises WrongSetting."""
        path = settings.access_policy_file
        self.policy = None if path is None else PolicyInForce(path, methods)
        self.keys: Keys | None = open_keys(settings) if settings.takes_tokens else None
        self._identities = Identities(
            None if self.keys is None else ServiceTokens(_expected(settings), self.keys),
            certificates=settings.tls_client_ca_file is not None,
        )

    @property
    def identify(self) -> Callable[[Call], str] | None:
        """What names the caller of a call, or refuses it."""
        return None if self.policy is None and self.keys is None else self._identities.caller_of

    def name_of(self, call: Call) -> str:
        """Return the name of a caller of whom nobody has asked, by its certificate; "" where it has none."""
        try:
            return self._identities.certified(call)
        except CallerUnknown:
            return ""

    async def prepare(self) -> None:
        """Read the keys before the first call comes; an address that does not answer holds up nobody for long."""
        if self.keys is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(2 * FETCH_SECONDS):
                    await self.keys.refresh()

    def work(self) -> list[Coroutine[Any, Any, NoReturn]]:
        """Return the endless work beside the calls."""
        loops = [] if self.keys is None else [self.keys.run()]
        return loops if self.policy is None else [*loops, _looking(self.policy)]


def check_files(settings: ServerSettings) -> None:
    """Raise WrongSetting where a file of these settings cannot be used, before anything is begun."""
    if settings.access_policy_file is not None:
        PolicyInForce(settings.access_policy_file, ())
    if settings.takes_tokens:
        open_keys(settings)


async def _looking(policy: PolicyInForce) -> NoReturn:
    while True:
        await asyncio.sleep(POLICY_LOOK_SECONDS)
        policy.look()


def _expected(settings: ServerSettings) -> Expected:
    algorithms = tuple(name.strip() for name in settings.jwt_algorithms.split(","))
    return Expected(settings.jwt_issuer, settings.jwt_audience, algorithms)
