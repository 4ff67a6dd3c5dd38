"""Processes that are killed (kill -9) while they write, order and tell events: nothing is lost, nothing told twice."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from vibework.testing.local.ports import LOOPBACK, free_port
from vibework.users.v1 import session_service_pb2 as sessions_pb
from vibework.users.v1 import user_service_pb2 as pb

from tests.harness.databases import MySQLDatabase
from tests.harness.patience import wait_for
from tests.harness.statements import query
from tests.harness.users import Stubs
from tests.harness.watching_users import Told, told_of, watching_users
from tests.harness.workers import environment, serving
from tests.integration.users.ways_to_sign_in import PASSWORD, new_email

# Long enough for some events, and short enough for some deaths in the middle of everything.
ROUNDS = 5


class Server:
    """A process of the service, on one port, that is killed and started again."""

    def __init__(self, database: MySQLDatabase, log: Path) -> None:
        self.port = free_port()
        quick = {"ARGON2_MEMORY_KIB": "19456", "WATCH_POLL_MS": "20", "ATTEMPTS_PER_ADDRESS": "1000000"}
        self._environment = environment(database, self.port) | quick
        self._log = log
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as output:
            command = [sys.executable, "-m", "users_service", "serve"]
            return subprocess.Popen(command, env=self._environment, stdout=output, stderr=output)

    def restart(self) -> None:
        """Kill it at whatever it does, and start another."""
        self.process.kill()
        self.process.wait()
        self.process = self._start()
        self.ready()

    def ready(self) -> None:
        """Wait until it serves."""
        wait_for(lambda: serving(self.port), "the service")


@pytest.fixture
def servers(mysql_database: MySQLDatabase, tmp_path: Path) -> Iterator[list[Server]]:
    """Two processes on one database."""
    running = [Server(mysql_database, tmp_path / f"{number}.log") for number in range(2)]
    try:
        for server in running:
            server.ready()
        yield running
    finally:
        for server in running:
            server.process.kill()
            server.process.wait()


def channel(server: Server) -> grpc.aio.Channel:
    """Open a connection."""
    return grpc.aio.insecure_channel(f"{LOOPBACK}:{server.port}", options=[("grpc.use_local_subchannel_pool", 1)])


async def _write(server: Server, ended: asyncio.Event, answered: list[str]) -> None:
    """Create users for as long as the test goes on, whatever becomes of the calls."""
    async with channel(server) as open_channel:
        stubs = Stubs.on(open_channel)
        while not ended.is_set():
            with suppress(grpc.aio.AioRpcError):
                request = sessions_pb.SignUpRequest(email=new_email(), password=PASSWORD)
                answered.append((await stubs.sessions.SignUp(request)).user.id)
                request_ = pb.CreateUserRequest(email=new_email())
                answered.append((await stubs.users.CreateUser(request_)).user.id)
            await asyncio.sleep(0.005)


async def _follow(servers: list[Server], token: str, last: asyncio.Future[str]) -> list[Told]:
    """Follow from one process or the other, with the last token, until a certain user is told of."""
    told: list[Told] = []
    turn = 0
    while not (last.done() and told and told[-1][1] == last.result()):
        turn += 1
        with suppress(grpc.aio.AioRpcError):
            async with channel(servers[turn % 2]) as open_channel:
                call = Stubs.on(open_channel).users.WatchUsers(pb.WatchUsersRequest(resume_token=token))
                async for response in call:
                    if response.HasField("user_event"):
                        told.append(told_of(response))
                    token = response.resume_token
                    if last.done() and told and told[-1][1] == last.result():
                        break
        await asyncio.sleep(0.01)
    return told


@pytest.mark.long
async def test_nothing_is_lost_or_told_twice_whoever_is_killed(
    servers: list[Server], mysql_database: MySQLDatabase
) -> None:
    """Both processes write and order and are watched, and are killed in turn at any point of it."""
    chance, ended, answered = random.Random(), asyncio.Event(), list[str]()
    async with channel(servers[0]) as open_channel, watching_users(Stubs.on(open_channel).users) as watch:
        token = watch.token
    last: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    followers = [asyncio.create_task(_follow(servers, token, last)) for _ in range(3)]
    writers = [asyncio.create_task(_write(servers[number % 2], ended, answered)) for number in range(4)]
    for number in range(ROUNDS):
        before = len(answered)
        while len(answered) < before + 10:  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        await asyncio.sleep(chance.random() * 0.1)
        await asyncio.to_thread(servers[number % 2].restart)
    ended.set()
    await asyncio.gather(*writers)
    async with channel(servers[0]) as open_channel:
        request = pb.CreateUserRequest(email=new_email())
        last.set_result((await Stubs.on(open_channel).users.CreateUser(request)).user.id)
    streams = await asyncio.gather(*followers)
    created = [user_id for _, user_id, _ in streams[0]]
    assert len(created) == len(set(created))
    assert set(created) >= {*answered, last.result()}
    assert set(created) == {row[0] for row in await query(mysql_database, "SELECT id FROM users")}
    assert streams[1:] == streams[:1] * 2
    numbers = await query(mysql_database, "SELECT seq, user_id FROM user_events ORDER BY seq")
    assert numbers == list(enumerate(created, start=1))
