"""`script/generate` and `script/proto-check`, in trees and histories of their own: what they leave and say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.patience import PATIENCE_SECONDS

ROOT = Path(__file__).resolve().parents[2]
GENERATOR = ROOT / ".venv-generate"
PROTO = Path("protos", "vibework", "errors", "v1", "error_reason.proto")
STUB = Path("client", "vibework", "errors", "v1", "error_reason_pb2.py")
NOT_COMPARED = "buf breaking: NOT compared with what was promised"


def copied(folder: Path) -> Path:
    """Copy what both scripts need into a folder."""
    tree = folder / "tree"
    tree.mkdir()
    for name in ("client", "protos", "script", "docs"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of the test's own."""
    return copied(tmp_path)


def generate(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the tree's `script/generate`, in the environment that this project has for it."""
    environment = {**os.environ, "VENV": str(GENERATOR)}
    subprocess.run(["script/bootstrap", "generate"], cwd=ROOT, env=environment, check=True, capture_output=True)
    command = [str(GENERATOR / "bin" / "python"), "-m", "script.generate", *arguments]
    return subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def stubs(tree: Path) -> dict[str, bytes]:
    """Return what is in the generated files."""
    return {str(path.relative_to(tree)): path.read_bytes() for path in (tree / "client").rglob("*.py*")}


def test_a_mistake_in_the_contract_costs_no_stub(tree: Path) -> None:
    """Whoever writes the .proto file can still run what imports the stubs."""
    before = stubs(tree)
    with (tree / PROTO).open("a") as proto:
        proto.write("message Unfinished {\n")
    failed = generate(tree)
    assert failed.returncode != 0
    assert "error_reason.proto" in failed.stderr
    assert "the stubs are as they were" in failed.stderr.splitlines()[-1]
    assert stubs(tree) == before


@pytest.mark.long
def test_generating_replaces_what_is_stale_and_removes_what_is_left_over(tree: Path) -> None:
    """Afterwards the stubs are those of the .proto files, no more and no less."""
    before = stubs(tree)
    (tree / STUB).write_text("stale\n")
    (tree / STUB.with_name("gone_pb2.py")).write_text("of a file that was removed\n")
    assert generate(tree, "--check").returncode == 1
    assert generate(tree).returncode == 0
    assert stubs(tree) == before


def git(folder: Path, *arguments: str) -> None:
    """Run git, as somebody."""
    author = ("-c", "user.name=Ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *author, *arguments], cwd=folder, check=True, capture_output=True, timeout=PATIENCE_SECONDS)


def commit(tree: Path, text: str) -> None:
    """Commit all of the tree."""
    git(tree, "add", "--all")
    git(tree, "commit", "--quiet", "--message", text)


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history in which the contract once had a message that it has no more, which breaks what was promised."""
    tree = copied(tmp_path_factory.mktemp("history"))
    # Whether stubs are fresh is not what is looked at here.
    (tree / "script" / "generate").write_text("#!/bin/sh\necho left out\n")
    git(tree, "init", "--quiet", "--initial-branch=main")
    proto = tree / PROTO
    now = proto.read_text()
    proto.write_text(now + "\n// A message of before.\nmessage Before {\n  // A field.\n  string field = 1;\n}\n")
    commit(tree, "Promise")
    proto.write_text(now)
    commit(tree, "Break")
    return tree


def proto_check(tree: Path, *revisions: str) -> subprocess.CompletedProcess[str]:
    """Run the tree's `script/proto-check` with the tools of this environment."""
    tools = tree / ".venv" / "bin"
    tools.mkdir(parents=True, exist_ok=True)
    if not (tools / "buf").exists():
        (tools / "buf").symlink_to(Path(sys.executable).with_name("buf"))
    command = [str(tree / "script" / "proto-check"), *revisions]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def clone(history: Path, folder: Path, *options: str) -> Path:
    """Clone the history into a folder that is not there yet."""
    git(history, "clone", "--quiet", *options, f"file://{history}", str(folder))
    return folder


@pytest.mark.long
def test_a_whole_clone_compares_with_what_was_promised(history: Path, tmp_path: Path) -> None:
    """Also where the checkout is origin/main, as in CI: a broken promise is found."""
    checked = proto_check(clone(history, tmp_path / "clone"))
    assert checked.returncode != 0
    assert "Before" in checked.stdout
    assert NOT_COMPARED not in checked.stderr


@pytest.mark.long
def test_a_contract_that_is_put_right_is_the_promise_from_there_on(history: Path, tmp_path: Path) -> None:
    """Before the first release a commit may break what was, where it says so in `protos/baseline`; the next may not."""
    tree = clone(history, tmp_path / "clone")
    (tree / "protos" / "baseline").write_text("Put right.\n")
    commit(tree, "Put right")
    assert "compatible with" in proto_check(tree).stdout
    proto = tree / PROTO
    proto.write_text(proto.read_text().replace("CALLER_UNKNOWN", "CALLER_STRANGE"))
    commit(tree, "Break")
    assert proto_check(tree).returncode != 0


@pytest.mark.long
def test_a_shallow_clone_says_that_it_could_not_compare(history: Path, tmp_path: Path) -> None:
    """Its oldest commit is where the history was cut off: it breaks nothing of itself. With the history it is found."""
    shallow = clone(history, tmp_path / "clone", "--depth=1")
    checked = proto_check(shallow)
    assert checked.returncode == 0, checked.stderr
    assert checked.stderr.startswith(NOT_COMPARED)
    assert "compatible with" not in checked.stdout
    git(shallow, "fetch", "--quiet", "--unshallow", "--tags")
    assert proto_check(shallow).returncode != 0


def test_a_revision_that_is_not_there_is_no_success(history: Path) -> None:
    """A misspelt release was compared with nothing."""
    checked = proto_check(history, "v9.9.9")
    assert (checked.returncode, checked.stderr) == (1, "script/proto-check: there is no contract at revision v9.9.9\n")


def test_ci_fetches_the_history_that_it_was_not_given() -> None:
    """CI systems clone without history; the contract is compared there all the same."""
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    (fetching,) = (place for place, line in enumerate(lines) if "git fetch" in line and "--unshallow --tags" in line)
    (linting,) = (place for place, line in enumerate(lines) if line.startswith("script/lint"))
    assert fetching < linting
