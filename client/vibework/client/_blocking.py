"""Calls that block: what the methods of ``vibework.client`` are built on. Its clients may be shared by threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
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
Relist = Callable[[], None]


class Client(Connectable):
    """A client of one service. Use it as a context, or close it."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._connections: Connections[grpc.Channel] = Connections(
            settings.targets, settings.connections, settings.tls, self._open
        )

    def _open(self, address: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
        if credentials is None:
            return grpc.insecure_channel(address, options=self._settings.options)
        return grpc.secure_channel(address, credentials, options=self._settings.options)

    def close(self) -> None:
        """Close all connections; calls that are in flight end with ``CallCancelled``."""
        for channel in self._connections.close():
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _unary(self, method: Method, given: Mapping[str, Any], _answer: type[Answer], timeout: float | None) -> Answer:
        """Make a call, again where that is safe and helps, within its time."""
        request = method.message(given)
        ends_at = time.monotonic() + self._settings.seconds(method, timeout)
        made = 0
        while True:
            made += 1
            try:
                answer: Answer = self._once(method, request, max(ends_at - time.monotonic(), 0.001))
            except VibeworkError as failure:
                delay = self._settings.retries.delay(method, failure, made, ends_at - time.monotonic())
                if delay is None:
                    raise
                time.sleep(delay)
            else:
                return answer

    def _once(self, method: Method, request: Any, seconds: float) -> Any:
        connection = self._taken()
        try:
            call = _callable(connection, "unary_unary", method)
            return call(request, timeout=seconds, metadata=self._metadata())
        except grpc.RpcError as error:
            raise failure_of(error) from None
        except ValueError as error:
            # What gRPC says of a channel that was closed in another thread.
            raise MisusedClient(str(error)) from None
        finally:
            self._returned(connection)

    def _taken(self) -> Connection[grpc.Channel]:
        connection, idle = self._connections.take()
        for channel in idle:
            channel.close()
        return connection

    def _returned(self, connection: Connection[grpc.Channel]) -> None:
        for channel in self._connections.give_back(connection):
            channel.close()

    def _stream(
        self, method: Method, given: Mapping[str, Any], _answer: type[Answer], timeout: float | None
    ) -> Iterator[Answer]:
        """Yield the messages of a stream; it is cancelled when the iterator is closed."""
        with _Stream(self, method, method.message(given), timeout) as stream:
            yield from stream

    def _pager(
        self,
        method: Method,
        given: Mapping[str, Any],
        answer: type[Answer],
        _item: type[Item],
        field: str,
        timeout: float | None,
    ) -> Pager[Item, Answer]:
        def read(token: str) -> Answer:
            return self._unary(method, {**given, "page_token": token}, answer, timeout)

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

        def opened(token: str) -> _Stream:
            return _Stream(self, method, method.message(resumed(method, given, token)), None)

        return Watch(opened, following, relist, heartbeats=heartbeats)


class Pager(Generic[Item, Answer]):
    """The items of a list, read page by page as they are asked for; ``pages`` has the answers themselves.

    It may be iterated over again, which reads anew.
    """

    def __init__(self, read: Callable[[str], Answer], field: str) -> None:
        self._read = read
        self._field = field

    def __iter__(self) -> Iterator[Item]:
        for page in self.pages():
            yield from getattr(page, self._field)

    def pages(self) -> Iterator[Answer]:
        """Yield the answers, a page each."""
        token = ""
        while True:
            page: Any = self._read(token)
            yield page
            token = page.next_page_token
            if not token:
                return


class Watch(Generic[Answer]):
    """The events of a stream, which resumes where it was cut off. Use it as a context, or close it: either cancels it.

    It goes on through every error after which that is possible, and otherwise raises it. Where events were missed
    (``ResumeTokenExpired``), it watches anew and then calls ``relist``; without ``relist`` it raises.
    """

    def __init__(
        self, opened: Callable[[str], _Stream], following: Following, relist: Relist | None, *, heartbeats: bool
    ) -> None:
        self._opened = opened
        self._following = following
        self._relist = relist
        self._heartbeats = heartbeats
        self._stream: _Stream | None = None
        self._closed = threading.Event()
        self._must_relist = False

    @property
    def resume_token(self) -> str:
        """Return the token of the last event: a watch that is given it goes on behind that event."""
        return self._following.token

    def close(self) -> None:
        """End the watch, from any thread: the iteration stops."""
        self._closed.set()
        if (stream := self._stream) is not None:
            stream.cancel()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Answer]:
        try:
            while not self._closed.is_set():
                failure: VibeworkError | None = None
                try:
                    yield from self._events()
                except VibeworkError as error:
                    failure = error
                self._go_on(failure)
        finally:
            self.close()

    def _events(self) -> Iterator[Answer]:
        with self._opened(self._following.token) as stream:
            self._stream = stream
            if self._closed.is_set():
                return
            for message in stream:
                self._following.received(message.resume_token)
                if self._must_relist and self._relist is not None:
                    # The watch is in place, so nothing falls between it and the list.
                    self._must_relist = False
                    self._relist()
                if self._heartbeats or message.WhichOneof("event") != "heartbeat":
                    yield message

    def _go_on(self, failure: VibeworkError | None) -> None:
        if self._closed.is_set():
            return
        step, delay = self._following.after(failure)
        if step is Next.GIVE_UP:
            raise failure or errors.ServiceUnreachable("the stream ended again and again")
        self._must_relist = self._must_relist or step is Next.RELIST
        self._closed.wait(delay)


class _Stream:
    """One stream: iterates over its messages, with errors as exceptions of the client; leaving it cancels it."""

    def __init__(self, client: Client, method: Method, request: Any, timeout: float | None) -> None:
        self._client = client
        self._method = method
        self._request = request
        self._timeout = timeout

    def __enter__(self) -> Self:
        self._connection = self._client._taken()  # noqa: SLF001 - one module
        call = _callable(self._connection, "unary_stream", self._method)
        try:
            self._call = call(self._request, timeout=self._timeout, metadata=self._client._metadata())  # noqa: SLF001
        except BaseException:
            self._client._returned(self._connection)  # noqa: SLF001
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._call.cancel()
        self._client._returned(self._connection)  # noqa: SLF001

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._call
        except grpc.RpcError as error:
            raise failure_of(error) from None

    def cancel(self) -> None:
        """Cancel it, from any thread."""
        self._call.cancel()


def _callable(connection: Connection[grpc.Channel], kind: str, method: Method) -> Any:
    made = connection.callables.get(method.path)
    if made is None:
        made = getattr(connection.channel, kind)(
            method.path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=method.response.FromString,
        )
        connection.callables[method.path] = made
    return made
