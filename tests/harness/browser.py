"""A real Chromium without a window, driven by its own protocol (CDP): opens pages, runs scripts, takes pictures."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest

from tests.harness.patience import PATIENCE_SECONDS

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# Longest message that it sends: a picture of a long page.
MOST_BYTES: Final = 64 * 1024 * 1024


class Page:
    """One page, and what became of its requests."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        # Of every request that the page made.
        self.requests: list[str] = []
        # Of every exception that nothing in the page caught.
        self.exceptions: list[str] = []

    async def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; fails where the browser refuses it."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (answer := self._noted(await self._socket.receive_json())).get("id") != number:
                pass
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def _noted(self, message: dict[str, Any]) -> dict[str, Any]:
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        if message.get("method") == "Runtime.exceptionThrown":
            self.exceptions.append(json.dumps(message["params"]["exceptionDetails"]))
        return message

    async def open(self, address: str, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Open an address and wait until it is loaded."""
        for domain in ("Page", "Network", "Runtime"):
            await self.command(f"{domain}.enable")
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        await self.command("Emulation.setEmulatedMedia", features=[scheme])
        await self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        await self.command("Page.navigate", url=address)
        loaded = "new Promise((done) => document.readyState === 'complete' ? done() : addEventListener('load', done))"
        await self.run(loaded)

    async def run(self, script: str) -> Any:
        """Return what an expression of JavaScript, or the promise that it makes, comes to; fails where it throws."""
        answer = await self.command("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    async def picture(self, target: Path) -> None:
        """Write what is seen into a PNG file."""
        answer = await self.command("Page.captureScreenshot", format="png")
        target.write_bytes(base64.b64decode(answer["data"]))  # noqa: ASYNC240 - a test's own file


def program() -> str:
    """Return the browser's program; one that is not there fails the test and is named."""
    for name in PROGRAMS:
        if found := shutil.which(name):
            return found
    pytest.fail(f"this test needs one of {', '.join(PROGRAMS)} (Debian: apt-get install chromium)")


@asynccontextmanager
async def chromium() -> AsyncIterator[Page]:
    """Run a browser with one page until the context ends."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = await asyncio.create_subprocess_exec(
            program(),
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--remote-debugging-port=0",
            f"--user-data-dir={folder}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            port = await _port(Path(folder, "DevToolsActivePort"), process)
            async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
                async with session.get("/json/list") as answer:
                    [target] = [each for each in await answer.json() if each["type"] == "page"]
                async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=MOST_BYTES) as socket:
                    yield Page(socket)
        finally:
            process.terminate()
            await process.wait()


async def _port(told: Path, process: asyncio.subprocess.Process) -> str:
    """Wait until the browser has written where it listens."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not told.exists() or not (lines := told.read_text().splitlines()):  # noqa: ASYNC240 - nothing tells
            assert process.returncode is None, f"the browser ended with {process.returncode}"
            await asyncio.sleep(0.05)
    return lines[0]
