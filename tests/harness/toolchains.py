"""Toolchains of other languages: projects that generate stubs from protos/, compile them and call the pair.

Go and TypeScript are the examples of examples/, Java has a folder in tests/e2e/languages. They are copied to
.local/languages and built there, with caches that stay: only the first run on a machine downloads and compiles all.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final, Self

import pytest
import yaml

ROOT: Final = Path(__file__).parents[2]
PROTOS: Final = ROOT / "protos"
EXAMPLES: Final = ROOT / "examples"
# What a person may have built in them.
BUILT: Final = shutil.ignore_patterns("gen", "tools", "node_modules", "dist")
WORK: Final = ROOT / ".local" / "languages"
TEMPLATE: Final[dict[str, Any]] = yaml.safe_load((PROTOS / "buf.gen.yaml").read_text())
MAVEN: Final = ("mvn", "--quiet", "--batch-mode", f"-Dmaven.repo.local={WORK / 'maven'}")
# As Maven names what protoc was compiled for.
MACHINES: Final = {"x86_64": "x86_64", "aarch64": "aarch_64", "arm64": "aarch_64"}
SYSTEMS: Final = {"Linux": "linux", "Darwin": "osx"}

CACHES: Final = {
    "GOCACHE": str(WORK / "go-build"),
    "GOMODCACHE": str(WORK / "go-modules"),
    # Nothing optimised: a third less to compile, and the example runs for a second.
    "GOFLAGS": "-modcacherw -buildvcs=false -gcflags=all=-N",
    "npm_config_cache": str(WORK / "npm"),
}


class Project:
    """One language's copy of its sources, with the plugins that generate its stubs."""

    language: str
    programs: tuple[str, ...]
    # Where the plugins are, below the project's folder.
    tools: str
    # Where the sources are.
    sources = EXAMPLES

    def __init__(self) -> None:
        self.folder = WORK / self.language
        shutil.rmtree(self.stubs, ignore_errors=True)
        shutil.copytree(self.sources / self.language, self.folder, dirs_exist_ok=True, ignore=BUILT)

    @classmethod
    def missing(cls) -> list[str]:
        """Return the toolchain's programs that this machine lacks."""
        return [program for program in cls.programs if shutil.which(program) is None]

    @classmethod
    def made(cls) -> Self:
        """Return a project with its stubs; a toolchain that is not there fails the test and is named."""
        if absent := cls.missing():
            pytest.fail(f"`script/test --all` needs {' and '.join(absent)}, which this machine lacks")
        project = cls()
        project.generate()
        return project

    @property
    def stubs(self) -> Path:
        """Where `buf generate` writes."""
        return self.folder / "gen" / self.language

    @property
    def plugins(self) -> list[dict[str, Any]]:
        """This language's lines of protos/buf.gen.yaml."""
        return [plugin for plugin in TEMPLATE["plugins"] if plugin["out"] == f"gen/{self.language}"]

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Run a command of the toolchain, and return what it prints."""
        path = os.pathsep.join([str(self.folder / self.tools), str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = {**os.environ, **CACHES, "PATH": path}
        where = cwd or self.folder
        ended = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True, check=False)
        if ended.returncode:
            pytest.fail(f"{' '.join(command)} ended with {ended.returncode}:\n{ended.stdout}\n{ended.stderr}")
        return ended.stdout

    def generate(self) -> None:
        """Make the stubs by the command that people have for it."""
        self.run(str(EXAMPLES / "generate"), self.language, str(self.folder))


class Go(Project):
    """A module that has its stubs in a second one, named vibework."""

    language = "go"
    programs = ("go",)
    tools = "tools"


class TypeScript(Project):
    """A package of ECMAScript modules."""

    language = "typescript"
    programs = ("node", "npm")
    tools = "node_modules/.bin"


class Java(Project):
    """A Maven project of nothing but stubs."""

    language = "java"
    programs = ("javac", "mvn")
    tools = "target/tools"
    sources = ROOT / "tests" / "e2e" / "languages"

    def generate(self) -> None:
        """Fetch protoc and its plugin, which come as programs without a mark that they are; then as `buf generate`."""
        machine = f"{SYSTEMS[platform.system()]}-{MACHINES[platform.machine()]}"
        self.run(*MAVEN, f"-Dplatform={machine}", "initialize")
        for tool in (self.folder / self.tools).glob("*.exe"):
            tool.chmod(0o755)
            tool.rename(tool.with_suffix(""))
        template = json.dumps({**TEMPLATE, "plugins": self.plugins})
        self.run("buf", "generate", "--template", template, "-o", str(self.folder), cwd=PROTOS)
