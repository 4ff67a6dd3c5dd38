"""Where the pair of a run of tests comes from: one that runs, local processes, or containers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

from vibework.client import TLS
from vibework.testing import _mails, _processes
from vibework.testing._pair import Pair
from vibework.testing._processes import without
from vibework.testing._settings import Settings, variable

_CONNECT_SECONDS: Final = 5.0
DOCKER_HOST: Final = "unix:///var/run/docker.sock"


class PairNotFound(Exception):
    """There is no pair for the tests, and nothing to make one from."""


class Source(NamedTuple):
    """What it lacks, a sentence each, and how it is opened: with the settings, a folder, and settings of services."""

    missing: Callable[[Settings], list[str]]
    opened: Callable[[Settings, Path, Mapping[str, str]], AbstractContextManager[Pair]]


def _not_named(settings: Settings) -> list[str]:
    named = {"users_address": settings.users_address, "notifications_address": settings.notifications_address}
    return [f"{variable(name)} is not set" for name, value in named.items() if not value]


@contextmanager
def _running(settings: Settings, folder: Path, more: Mapping[str, str]) -> Iterator[Pair]:
    """Take the pair that is named; its settings are its own."""
    del folder, more
    for name in ("users_address", "notifications_address"):
        _check_connection(variable(name), getattr(settings, name))
    tls = None
    if settings.tls_ca_file:
        tls = TLS(settings.tls_ca_file, settings.tls_cert_file or None, settings.tls_key_file or None)
    yield Pair(
        settings.users_address,
        settings.notifications_address,
        is_own=False,
        tls=tls,
        token_file=Path(settings.token_file) if settings.token_file else None,
        mails=_mails.named(settings.mails),
    )


def _check_connection(name: str, address: str) -> None:
    try:
        _connect(address)
    except ValueError:
        raise PairNotFound(f"{name} is not host:port: {address}") from None
    except OSError as error:
        raise PairNotFound(f"nothing answers at {address} ({name}): {error}") from None


def _connect(address: str) -> None:
    """See whether something listens at ``host:port``. Raises ValueError where it is none, and OSError."""
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()


def _no_engine(settings: Settings) -> list[str]:
    del settings
    if lacks := without("testcontainers"):
        return lacks
    from testcontainers.core.docker_client import get_docker_host

    where = get_docker_host() or DOCKER_HOST
    # By hand: a client of docker that reaches nothing leaves a socket open, which is an error where warnings are.
    scheme, _, place = where.partition("://")
    try:
        if scheme == "unix":
            with socket.socket(socket.AF_UNIX) as engine:
                engine.connect(place)
        elif scheme == "tcp":
            _connect(place)
    except OSError as error:
        return [f"no Docker engine answers at {where} ({error.strerror})"]
    return []


@contextmanager
def _contained(settings: Settings, folder: Path, more: Mapping[str, str]) -> Iterator[Pair]:
    """Run the pair in containers."""
    del folder
    import docker
    from vibework.testing.containers import VibeworkPair

    pair = VibeworkPair(
        settings.image,
        mysql_image=settings.mysql_image,
        mongodb_image=settings.mongodb_image,
        mailpit_image=settings.mailpit_image,
        settings=more,
    )
    try:
        pair.start()
    except docker.errors.ImageNotFound as error:
        raise PairNotFound(
            f"an image is neither here nor to be pulled: {error.explanation}. Build that of the services with `docker "
            f"build -t {settings.image} .` in their tree, or name one in {variable('image')}"
        ) from None
    try:
        yield pair.described()
    finally:
        pair.stop()


SOURCES: Final[Mapping[str, Source]] = {
    "running": Source(_not_named, _running),
    "local": Source(_processes.missing, _processes.running),
    "containers": Source(_no_engine, _contained),
}


@contextmanager
def opened(settings: Settings, folder: Path, more: Mapping[str, str]) -> Iterator[Pair]:
    """Open the pair until the context ends: the first that is there, or the one that the settings ask for.

    ``folder``: for data and logs. ``more``: settings of both services, where they are started here. Raises
    `PairNotFound`, and `LocalProblem` where something does not start.
    """
    with _chosen(settings).opened(settings, folder, more) as pair:
        yield pair


def _chosen(settings: Settings) -> Source:
    if settings.pair and settings.pair not in SOURCES:
        raise PairNotFound(f"{variable('pair')} is {settings.pair!r}: it can be {', '.join(SOURCES)}")
    wanted = {settings.pair: SOURCES[settings.pair]} if settings.pair else SOURCES
    if settings.users_address or settings.notifications_address:
        # Who names one of the two wants no other pair.
        wanted = {"running": SOURCES["running"]} if not settings.pair else wanted
    lacks: dict[str, list[str]] = {}
    for name, source in wanted.items():
        lacks[name] = source.missing(settings)
        if not lacks[name]:
            return source
    told = [f"  {name}: {problem}" for name, problems in lacks.items() for problem in problems]
    raise PairNotFound("\n".join(["there is no pair of VibeWork services for the tests", *told]))
