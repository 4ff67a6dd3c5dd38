"""Calls for asyncio: what the methods of ``vibework.client.aio`` are built on. A client belongs to one event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc
from vibework.client import errors
from vibework.client._channels import Connection, Connections
from vibework.client._decoding import failure_of
from vibework.client._failure import MisusedClient, VibeworkError
from vibework.client._following import Following, Next
from vibework.client._methods import Method, resumed
from vibework.client._settings import Connectable, Settings

Answer = TypeVar("Answer")
Item = TypeVar("Item")
# Called when events were missed: list anew what the watch is about.
Relist = Callable[[], Awaitable[None]]


class Client(Connectable):
    """A client of one service. Use it as an asynchronous context, or close it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._connections: Connections[grpc.aio.Channel] = Connections(
            settings.targets, settings.connections, settings.tls, self._open
        )

    def _open(self, address: str, credentials: grpc.ChannelCredentials | None) -> grpc.aio.Channel:
        if credentials is None:
            return grpc.aio.insecure_channel(address, options=self._settings.options)
        return grpc.aio.secure_channel(address, credentials, options=self._settings.options)

    async def close(self) -> None:
        """Close all connections; calls that are in flight end with ``CallCancelled``."""
        for channel in self._connections.close():
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def _unary(
        self, method: Method, given: Mapping[str, Any], _answer: type[Answer], seconds: float | None
    ) -> Answer:
        """Make a call, again where that is safe and helps, within its time."""
        request = method.message(given)
        ends_at = time.monotonic() + self._settings.seconds(method, seconds)
        made = 0
        while True:
            made += 1
            try:
                answer: Answer = await self._once(method, request, max(ends_at - time.monotonic(), 0.001))
            except VibeworkError as failure:
                delay = self._settings.retries.delay(method, failure, made, ends_at - time.monotonic())
                if delay is None:
                    raise
                await asyncio.sleep(delay)
            else:
                return answer

    async def _once(self, method: Method, request: Any, seconds: float) -> Any:
        connection = await self._taken()
        try:
            call = _callable(connection, "unary_unary", method)
            return await call(request, timeout=seconds, metadata=self._metadata())
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from None
        except grpc.aio.UsageError as error:
            # What gRPC says of a channel that was closed meanwhile.
            raise MisusedClient(str(error)) from None
        finally:
            await self._returned(connection)

    async def _taken(self) -> Connection[grpc.aio.Channel]:
        connection, idle = self._connections.take()
        for channel in idle:
            await channel.close()
        return connection

    async def _returned(self, connection: Connection[grpc.aio.Channel]) -> None:
        for channel in self._connections.give_back(connection):
            await channel.close()

    async def _stream(
        self, method: Method, given: Mapping[str, Any], _answer: type[Answer], seconds: float | None
    ) -> AsyncIterator[Answer]:
        """Yield the messages of a stream; it is cancelled when the iterator is closed."""
        async with aclosing(self._messages(method, method.message(given), seconds)) as messages:
            async for message in messages:
                yield message

    async def _messages(self, method: Method, request: Any, seconds: float | None) -> AsyncGenerator[Any, None]:
        connection = await self._taken()
        try:
            call = _callable(connection, "unary_stream", method)(request, timeout=seconds, metadata=self._metadata())
            try:
                async for message in call:
                    yield message
            finally:
                # A stream that nobody reads goes on until it is cancelled (grpc#43462).
                call.cancel()
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from None
        finally:
            await self._returned(connection)

    def _pager(
        self,
        method: Method,
        given: Mapping[str, Any],
        answer: type[Answer],
        _item: type[Item],
        field: str,
        seconds: float | None,
    ) -> Pager[Item, Answer]:
        async def read(token: str) -> Answer:
            return await self._unary(method, {**given, "page_token": token}, answer, seconds)

        return Pager(read, field)

    def _watch(
        self,
        method: Method,
        given: Mapping[str, Any],
        _answer: type[Answer],
        *,
        relist: Relist | None,
        give_up_after: float | None,
        heartbeats: bool,
    ) -> Watch[Answer]:
        given = dict(given)
        following = Following(given.pop("resume_token") or "", relist is not None, give_up_after)

        def opened(token: str) -> AsyncGenerator[Any, None]:
            return self._messages(method, method.message(resumed(method, given, token)), None)

        return Watch(opened, following, relist, heartbeats=heartbeats)


class Pager(Generic[Item, Answer]):
    """The items of a list, read page by page as they are asked for; ``pages`` has the answers themselves.

    It may be iterated over again, which reads anew.
    """

    def __init__(self, read: Callable[[str], Awaitable[Answer]], field: str) -> None:
        self._read = read
        self._field = field

    async def __aiter__(self) -> AsyncIterator[Item]:
        async for page in self.pages():
            for item in getattr(page, self._field):
                yield item

    async def pages(self) -> AsyncIterator[Answer]:
        """Yield the answers, a page each."""
        token = ""
        while True:
            page: Any = await self._read(token)
            yield page
            token = page.next_page_token
            if not token:
                return


class Watch(Generic[Answer]):
    """The events of a stream, which resumes where it was cut off. Use it as an asynchronous context.

    It goes on through every error after which that is possible, and otherwise raises it. Where events were missed
    (``ResumeTokenExpired``), it watches anew and then awaits ``relist``; without ``relist`` it raises. Leaving the
    context cancels what it opened, and so does the end of the task that iterates.
    """

    def __init__(
        self,
        opened: Callable[[str], AsyncGenerator[Any, None]],
        following: Following,
        relist: Relist | None,
        *,
        heartbeats: bool,
    ) -> None:
        self._opened = opened
        self._following = following
        self._relist = relist
        self._heartbeats = heartbeats
        self._iteration: AsyncGenerator[Answer, None] | None = None
        self._must_relist = False

    @property
    def resume_token(self) -> str:
        """Return the token of the last event: a watch that is given it goes on behind that event."""
        return self._following.token

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the watch; not while another task waits for its next event: cancel that task."""
        if self._iteration is not None:
            await self._iteration.aclose()

    def __aiter__(self) -> AsyncIterator[Answer]:
        if self._iteration is None:
            self._iteration = self._all()
        return self._iteration

    async def _all(self) -> AsyncGenerator[Answer, None]:
        while True:
            failure: VibeworkError | None = None
            try:
                async with aclosing(self._events()) as events:
                    async for event in events:
                        yield event
            except VibeworkError as error:
                failure = error
            await self._go_on(failure)

    async def _events(self) -> AsyncGenerator[Answer, None]:
        async with aclosing(self._opened(self._following.token)) as messages:
            async for message in messages:
                self._following.received(message.resume_token)
                if self._must_relist and self._relist is not None:
                    # The watch is in place, so nothing falls between it and the list.
                    self._must_relist = False
                    await self._relist()
                if self._heartbeats or message.WhichOneof("event") != "heartbeat":
                    yield message

    async def _go_on(self, failure: VibeworkError | None) -> None:
        step, delay = self._following.after(failure)
        if step is Next.GIVE_UP:
            raise failure or errors.ServiceUnreachable("the stream ended again and again")
        self._must_relist = self._must_relist or step is Next.RELIST
        await asyncio.sleep(delay)


def _callable(connection: Connection[grpc.aio.Channel], kind: str, method: Method) -> Any:
    made = connection.callables.get(method.path)
    if made is None:
        made = getattr(connection.channel, kind)(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=method.response.FromString,
        )
        connection.callables[method.path] = made
    return made
