"""What documents say of files, modules and constants of ours is so."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
from vibework.errors.v1 import ErrorReason

from notifications_service.settings import Settings as NotificationsSettings
from tests.contract.documents import DOCUMENTS, PACKAGES, ROOT, name, prose, quoted
from users_service.settings import Settings as UsersSettings

FOLDERS: Final = (*PACKAGES, "client", "examples", "migrations", "protos", "script", "deploy", "docs", "tests")
PATH: Final = re.compile(rf"(?:{'|'.join(FOLDERS)})/[\w./*-]*")
# A file named without its folders, or with the last of them only.
SHORT_PATH: Final = re.compile(r"(?:[\w*-]+/)*[\w*-]+\.py")
MODULE: Final = re.compile(rf"((?:{'|'.join(PACKAGES)}|migrations|tests|script)(?:\.\w+)+)(?:\(.*\))?")
COMMAND: Final = re.compile(r"\bpython3? -m ([\w.]+)")
# "`LISTENERS` (16)", "`lull.LONGEST_SECONDS` (5 ms)", "`GRPC_DRAIN_MS` (2 s)": a constant or a setting, and its value.
VALUE: Final = re.compile(r"`((?:\w+\.)*_?[A-Z][A-Z0-9_]+)` \((\d[\d,.]*)(?: ([^\W\d]+))?[);:,]")
SECONDS: Final = {"µs": "1e-6", "ms": "1e-3", "s": "1", "min": "60", "h": "3600", "day": "86400", "days": "86400"}
SIZES: Final = {"bytes": "1", "KiB": "1024", "MiB": "1048576"}
UNITS: Final = {unit: Decimal(factor) for unit, factor in (SECONDS | SIZES).items()}
# The unit of a value in the code is the end of its name.
SUFFIXES: Final = {"_MS": "ms", "_KIB": "KiB", "_HOURS": "h", "_DAYS": "days"}
SETTINGS: Final = (UsersSettings, NotificationsSettings)
PROTOS: Final = sorted((ROOT / "protos" / "vibework").rglob("*.proto"))
OF_GRPC: Final = {"GRPC_VERBOSITY", "GRPC_POLL_STRATEGY"}

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=name)


@cache
def files() -> frozenset[str]:
    """Return the paths of this repository's files of code."""
    return frozenset(path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))


@each_document
def test_every_path_is_there(document: Path) -> None:
    """Whoever follows a path of ours from a document finds the file; a star stands for several."""
    named = [text.rstrip("/") for text in quoted(document) if PATH.fullmatch(text)]
    assert [path for path in named if not list(ROOT.glob(path))] == []


@each_document
def test_every_file_named_for_short_is_there(document: Path) -> None:
    """A file's name alone, or with the last of its folders, is the end of a path of ours."""
    named = [text for text in quoted(document) if SHORT_PATH.fullmatch(text) and "*" not in text]
    assert [text for text in named if not any(f"/{path}".endswith(f"/{text}") for path in files())] == []


@each_document
def test_every_link_leads_somewhere(document: Path) -> None:
    """Links to files of this repository, and to their headings, are good."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        found = document.parent / path if path else document
        assert found.exists(), target
        assert not anchor or anchor in anchors(found), target


def anchors(document: Path) -> set[str]:
    """Return the anchors of a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_document
def test_every_module_and_name_resolves(document: Path) -> None:
    """``chassis.batching.coalesce.Coalescer``: the module is there, and so is the name in it."""
    named = [found[1] for text in quoted(document) if (found := MODULE.fullmatch(text))]
    assert [text for text in named if not is_there(text)] == []


@each_document
def test_every_module_that_a_command_runs_is_there(document: Path) -> None:
    """``python -m …`` finds what it is told to run, if that is ours."""
    named = [text for text in COMMAND.findall(document.read_text()) if text.partition(".")[0] in FOLDERS]
    assert [text for text in named if importlib.util.find_spec(text) is None] == []


def is_there(dotted: str) -> bool:
    """Say whether a dotted name is a module, or a name within one."""
    module, names = dotted, list[str]()
    while True:
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError:
            module, _, last = module.rpartition(".")
            if not module:
                return False
            names.insert(0, last)
        else:
            break
    for each in names:
        if not hasattr(found, each):
            return False
        found = getattr(found, each)
    return True


@each_document
def test_every_setting_is_there(document: Path) -> None:
    """A name in capitals that begins as settings do is one, a constant, of the contract, or a variable of gRPC's."""
    settings = {name.upper() for each in SETTINGS for name in each.model_fields}
    reasons = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118 - not a mapping
    beginnings = {setting.partition("_")[0] for setting in settings}
    found = [re.fullmatch(r"([A-Z0-9]+(?:_[A-Z0-9]+)+)(?:=.*)?", text) for text in quoted(document)]
    named = {name[1] for name in found if name and name[1].partition("_")[0] in beginnings}
    # Values of enums, and reasons of field violations.
    contract = {name for path in PROTOS for name in re.findall(r"[A-Z0-9_]{2,}", path.read_text())}
    assert named - settings - reasons - contract - constants().keys() - OF_GRPC == set()


@each_document
def test_every_value_is_the_codes(document: Path) -> None:
    """A constant or default that a document quotes with its name is what the code has."""
    assert {text: meant for text, meant, told in values(document) if told not in meant} == {}


def test_values_are_quoted_in_the_form_that_is_compared() -> None:
    """The form is used, so the comparison compares something."""
    assert sum(len(list(values(document))) for document in DOCUMENTS) > 50


def values(document: Path) -> Iterator[tuple[str, list[Decimal], Decimal]]:
    """Yield what a document says of constants: the text, the values that it may mean, and the value that it says."""
    for found in VALUE.finditer(prose(document)):
        dotted, number, unit = found.groups()
        told = Decimal(number.rstrip(".,").replace(",", "")) * UNITS.get(unit, Decimal(1))
        yield found[0], meant_by(dotted), told


def meant_by(dotted: str) -> list[Decimal]:
    """Return the value of a constant in seconds, bytes or pieces; several where the services' defaults differ."""
    *module, constant = dotted.split(".")
    if not module and (defaults := defaults_of(constant)):
        return [measured(constant, default) for default in defaults]
    places = [place for place in constants().get(constant, []) if f".{place}".endswith(".".join(["", *module]))]
    assert len(places) == 1, f"`{dotted}` is in {places or 'no module'}: name the one that is meant"
    return [measured(constant, getattr(importlib.import_module(places[0]), constant))]


def defaults_of(setting: str) -> list[Any]:
    """Return the defaults of a setting in the services that have it."""
    fields = [settings.model_fields.get(setting.lower()) for settings in SETTINGS]
    return [field.default for field in fields if field is not None]


def measured(constant: str, value: Any) -> Decimal:
    """Return a value of the code in seconds, bytes or pieces."""
    if isinstance(value, timedelta):
        return Decimal(str(value.total_seconds()))
    unit = next((unit for suffix, unit in SUFFIXES.items() if constant.endswith(suffix)), None)
    return Decimal(str(value)) * (UNITS[unit] if unit else 1)


@cache
def constants() -> dict[str, list[str]]:
    """Return the modules of ours that assign each name in capitals."""
    found: dict[str, list[str]] = {}
    for package in (*PACKAGES, "migrations"):
        for path in (ROOT / package).rglob("*.py"):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for node in ast.parse(path.read_text()).body:
                targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
                for target in targets:
                    if isinstance(target, ast.Name) and target.id.isupper():
                        found.setdefault(target.id, []).append(module)
    return found
