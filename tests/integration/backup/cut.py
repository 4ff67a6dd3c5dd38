"""Taking a server away after so many bytes: in the middle of a backup, or of a restore."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.harness.proxy import Link, Proxy


def cut_after(proxy: Proxy, size: int) -> None:
    """Break every connection of the proxy, for good, once it has passed on `size` bytes in both directions together."""
    passed = 0

    async def count_and_pass(link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal passed
        with suppress(OSError):
            while data := await reader.read(4_096):
                passed += len(data)
                if passed > size:
                    await proxy._close()
                    return
                writer.write(data)
                await writer.drain()
        writer.close()

    proxy._pass = count_and_pass  # type: ignore[method-assign]
