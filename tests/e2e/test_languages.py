"""The contract in other languages: what `buf generate` makes compiles, and calls the running pair."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests.harness.pair import Pair
from tests.harness.toolchains import MAVEN, PROTOS, ROOT, Go, Java, Project, TypeScript

# The first run compiles gRPC for Go and fetches everything.
pytestmark = [pytest.mark.long, pytest.mark.timeout(1_200), pytest.mark.xdist_group("languages")]

# What each program prints: of the session, of two errors, of what a watch brought, and of what happened between two.
SEEN: Final = {
    "validated": True,
    "taken": "offer to sign in",
    "invalid": "sign in again",
    "watched": "first",
    "resumed": "second",
}
# What is not of our contract among the generated files.
ADDED: Final = {"go.mod", "error_details_pb.ts"}


@pytest.fixture(scope="module")
def go() -> Project:
    """Go's project."""
    return Go.made()


@pytest.fixture(scope="module")
def typescript() -> Project:
    """TypeScript's project."""
    return TypeScript.made()


@pytest.fixture(scope="module")
def java() -> Project:
    """Java's project; the one toolchain that the tests do without."""
    if absent := Java.missing():
        pytest.skip(f"stubs for Java are not compiled: {' and '.join(absent)} not on this machine")
    return Java.made()


def test_go_calls_the_pair(go: Project, pair: Pair) -> None:
    """The example in Go, built by its own commands, signs up, validates, watches, resumes and knows reasons."""
    go.run("go", "build", "-o", "example", ".")
    go.run("go", "vet", ".", "vibework/...")
    assert json.loads(go.run("./example", pair.users, pair.notifications)) == SEEN


def test_typescript_calls_the_pair(typescript: Project, pair: Pair) -> None:
    """So does the one in TypeScript, compiled as strictly as the compiler can."""
    typescript.run("npm", "run", "build")
    assert json.loads(typescript.run("node", "dist/main.js", pair.users, pair.notifications)) == SEEN


def test_java_compiles(java: Project) -> None:
    """Java's stubs compile against protovalidate's own package."""
    java.run(*MAVEN, "compile")
    assert list((java.folder / "target" / "classes" / "com" / "vibework").rglob("UserServiceGrpc.class"))


@pytest.mark.parametrize("language", ["go", "typescript"])
def test_plain_protoc_makes_the_same(language: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Who has no `buf` makes the same stubs with protoc and the same plugins."""
    made: Project = request.getfixturevalue(language)
    assert yaml.safe_load((made.folder / "buf.gen.yaml").read_text())["plugins"] == made.plugins
    own = [str(path.relative_to(PROTOS)) for path in sorted((PROTOS / "vibework").rglob("*.proto"))]
    imported = ["buf/validate/validate.proto"] if language == "typescript" else []
    protoc(made, f"--proto_path={PROTOS}", *flags(made, tmp_path), *own, *imported)
    assert contents(tmp_path) == contents(made.stubs)


def flags(made: Project, target: Path) -> list[str]:
    """Return what protoc is told in place of a language's lines of buf.gen.yaml."""
    told = []
    for plugin in made.plugins:
        name, options = plugin["local"].removeprefix("protoc-gen-"), plugin["opt"]
        joined = options if isinstance(options, str) else ",".join(options)
        told += [f"--{name}_out={target}", f"--{name}_opt={joined}"]
    return told


def protoc(made: Project, *arguments: str) -> None:
    """Run the protoc of the environment that generates Python's stubs, with a language's plugins."""
    environment = {**os.environ, "VENV": ".venv-generate"}
    subprocess.run(["script/bootstrap", "generate"], cwd=ROOT, env=environment, check=True)
    made.run(str(ROOT / ".venv-generate" / "bin" / "python"), "-m", "grpc_tools.protoc", *arguments)


def contents(folder: Path) -> dict[str, list[str]]:
    """Return the generated files.

    Without the lines in which they name the compiler, or hold its encoding of the descriptor: two compilers write the
    options of a field in another order.
    """
    return {
        path.relative_to(folder).as_posix(): [
            line for line in path.read_text().splitlines() if "protoc" not in line and "fileDesc(" not in line
        ]
        for path in folder.rglob("*")
        if path.is_file() and path.name not in ADDED
    }
