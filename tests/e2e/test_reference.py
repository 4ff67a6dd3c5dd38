"""The reference of the API: each example on its pages works as printed; the page of HTML can be read and searched."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from vibework.errors.v1 import ErrorReason
from vibework.testing.local import mail
from vibework.testing.local.ports import free_port

from script import call
from tests.harness.browser import chromium
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.mails import ENVIRONMENT, catching
from tests.harness.pair import Pair, running_pair

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

REFERENCE: Final = Path(__file__).parents[2] / "docs" / "reference"
INDEX: Final = (REFERENCE / "index.html").as_uri()
# In the order in which the first page names them.
SERVICES: Final = re.findall(r"^\| \[\w+\]\((\w+\.md)\) \|", (REFERENCE / "README.md").read_text(), re.MULTILINE)
USERS, NOTIFICATIONS = "127.0.0.1:50051", "127.0.0.1:50052"
BLOCK: Final = re.compile(r"```(sh|python)\n(.*?)```", re.DOTALL)
# An example: its RPC, the lines for a shell, the lines of Python.
Printed = tuple[str, str, str]
# Web Push for a pair of a test: any 32 bytes below the order of the curve.
PUSH: Final = {"WEB_PUSH_KEYS": f"p1:{'A' * 42}E", "WEB_PUSH_SUBJECT": "mailto:ops@example.com"}
# Called as the pages call grpcurl. A field mask, which grpcurl wants as a message, has its form of JSON here.
STAND_IN: Final = f"""#!{sys.executable}
import io, re, sys
from script import call
seconds = sys.argv[3] if sys.argv[2] == "-max-time" else "30"
mask = re.compile(r'{{\\s*"paths": \\["([a-z_]+)"\\]\\s*}}')
camel = lambda found: '"' + re.sub("_(.)", lambda letter: letter[1].upper(), found[1]) + '"'
sys.stdin = io.StringIO(mask.sub(camel, sys.stdin.read()))
sys.exit(call.main(["--seconds", seconds, "--address", *sys.argv[-2:], "-"]))
"""
# How a watch by grpcurl ends.
LEFT: Final = "-e DeadlineExceeded -e DEADLINE_EXCEEDED"


def printed() -> Iterator[Printed]:
    """Yield the examples of all pages, in their order, the beginning first."""
    for page in ("README.md", *SERVICES):
        for section in re.split(r"^##? ", (REFERENCE / page).read_text(), flags=re.MULTILINE):
            blocks = dict(BLOCK.findall(section))
            if blocks:
                yield f"{page.removesuffix('.md')}: {section.partition(chr(10))[0]}", blocks["sh"], blocks["python"]


@pytest.fixture(scope="module")
def here(
    mysql_module_database: MySQLDatabase,
    mongodb_module_database: MongoDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Pair]:
    """Run the pair with mail and push set up."""
    with (
        catching(tmp_path_factory.mktemp("local"), free_port()) as mails,
        running_pair(mysql_module_database, mongodb_module_database, **mail.settings(mails.port), **PUSH) as pair,
    ):
        yield pair


def test_every_rpc_has_an_example() -> None:
    """Each stands once on the pages, with a call for a shell and one in Python."""
    names = [name.rpartition(" ")[2] for name, _, _ in printed()]
    assert sorted(names) == sorted(["Begin", *(method.name for method in call.methods())])


def test_every_line_of_grpcurl_works_as_printed(here: Pair, tmp_path: Path) -> None:
    """Typed in their order, each is answered; by grpcurl itself where it is there, else with the same JSON by ours."""
    script = ["set -o pipefail"]
    for name, shell, _ in printed():
        # A watch is left after its seconds, which is no success; that it was not refused shows what it wrote.
        lines = re.sub(
            r"^(grpcurl .*-max-time .*<<END)$",
            rf"\1 2>watch.txt || grep -q {LEFT} watch.txt",
            shell,
            flags=re.MULTILINE,
        )
        script += [lines.rstrip(), f"echo {shlex.quote(f'{name}: ')}$?"]
    grpcurl_on(tmp_path)
    text = "\n".join(script).replace(USERS, here.users).replace(NOTIFICATIONS, here.notifications)
    path = f"{tmp_path}:{ENVIRONMENT['PATH']}"
    ended = subprocess.run(
        ["bash"],
        input=text,
        cwd=tmp_path,
        env={**ENVIRONMENT, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    codes = re.findall(r"^(\w+: \w+): (\d+)$", ended.stdout, re.MULTILINE)
    assert [name for name, _ in codes] == [name for name, _, _ in printed()]
    assert [name for name, code in codes if code != "0"] == [], ended.stderr
    assert ended.stderr == ""


def grpcurl_on(folder: Path) -> None:
    """Put a program of that name into a folder where there is none: script/call, told the same."""
    if shutil.which("grpcurl") is None:
        stand_in = folder / "grpcurl"
        stand_in.write_text(STAND_IN)
        stand_in.chmod(0o755)


def test_every_line_of_python_works_as_printed(here: Pair, capsys: pytest.CaptureFixture[str]) -> None:
    """Run in their order, each is answered."""
    names: dict[str, object] = {}
    for name, _, python in printed():
        text = python.replace(USERS, here.users).replace(NOTIFICATIONS, here.notifications)
        exec(compile(text, name, "exec"), names)  # noqa: S102 - our own pages
    for client in (names["users"], names["notifications"]):
        client.close()  # type: ignore[attr-defined]  # those of the first page
    assert capsys.readouterr().out


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
async def test_the_page_can_be_read(width: int, dark: bool, tmp_path: Path) -> None:
    """In a browser, on a phone and a desk, light and dark: nothing is wider than the page, and nothing is asked for."""
    async with chromium() as page:
        await page.open(INDEX, width=width, dark=dark)
        assert await page.run("[innerWidth, Math.max(document.documentElement.scrollWidth, innerWidth)]") == [width] * 2
        paper = await page.run("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") is not dark
        ids = await page.run("[...document.querySelectorAll('[id]')].map((each) => each.id)")
        links = await page.run("[...document.querySelectorAll('a[href^=\"#\"]')].map((link) => link.hash.slice(1))")
        assert len(ids) == len(set(ids))
        assert set(links) - set(ids) == set()
        assert page.requests == [INDEX]
        assert page.exceptions == []


async def test_the_page_can_be_searched() -> None:
    """By the name of an RPC, a reason or a field; Enter leads there."""
    reasons = [name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()][1:]  # noqa: SIM118 - not a mapping
    async with chromium() as page:
        await page.open(INDEX)
        for name in (*(method.name for method in call.methods()), *reasons):
            assert await page.run(f"search.value = '{name}'; show(); found.querySelector('a').hash") == f"#{name}"
        await page.run("search.value = 'current_session_token'; show()")
        assert "#ListSessionsRequest" in await page.run("[...found.querySelectorAll('a')].map((a) => a.hash)")
        await page.run("search.value = 'user not found'; search.dispatchEvent(new Event('input'))")
        await page.run("search.dispatchEvent(new KeyboardEvent('keydown', {key: 'Enter'}))")
        assert await page.run("[location.hash, search.value, found.hidden]") == ["#USER_NOT_FOUND", "", True]
