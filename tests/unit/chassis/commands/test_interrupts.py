"""Commands end at Ctrl-C, whatever they are doing."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.harness.patience import PATIENCE_SECONDS

ROOT = Path(__file__).parents[4]
# Each says when it is at work; the first cleans up, the others do not let themselves be ended.
CLEANS_UP = """
async def work():
    try:
        print("working", flush=True)
        await asyncio.sleep(3600)
    finally:
        await asyncio.sleep(0.2)
        print("cleaned up", flush=True)
"""
SWALLOWS = """
async def work():
    print("working", flush=True)
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            continue
"""
BLOCKS = """
async def work():
    print("working", flush=True)
    while True:
        time.sleep(3600)
"""


# Whoever runs the tests in a shell's background has everything below it ignore Ctrl-C.
LISTENS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def _begun(work: str) -> subprocess.Popen[str]:
    code = f"{LISTENS}\nimport asyncio, time\nfrom chassis.commands import cli\n{work}\ncli.run(work())"
    command = [sys.executable, "-c", code]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    return process


def test_an_interrupted_command_cleans_up() -> None:
    """What it has begun, such as half a backup, it takes away."""
    with _begun(CLEANS_UP) as process:
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert output == "cleaned up\n"
    assert process.returncode != 0


@pytest.mark.parametrize("work", [SWALLOWS, BLOCKS], ids=["swallows", "blocks"])
def test_two_interrupts_end_a_command_at_once(work: str) -> None:
    """Work that swallows its cancellation, or keeps the event loop from turning, keeps nobody waiting."""
    with _begun(work) as process:
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 130


@pytest.mark.long
@pytest.mark.parametrize("work", [SWALLOWS, BLOCKS], ids=["swallows", "blocks"])
def test_one_interrupt_ends_a_command_in_the_end(work: str) -> None:
    """One Ctrl-C is enough, five seconds later."""
    with _begun(work) as process:
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == -signal.SIGALRM
