"""The picture of the rooms is the one that the linter holds the code to."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERS = {contract["containers"][0]: contract for contract in CONTRACTS if contract["type"] == "layers"}
PICTURE = re.search(r"```mermaid\n(.*?)```", (ROOT / "docs" / "life-of-an-rpc.md").read_text(), re.DOTALL)


def drawn(package: str) -> list[str]:
    """Return the floors that the picture shows of a package, from the top down."""
    assert PICTURE is not None
    block = re.search(rf"subgraph {package}\n(.*?)\n  end", PICTURE[1], re.DOTALL)
    assert block is not None
    labels = dict(re.findall(r'(\w+)\["(.*?)"\]', block[1]))
    arrows = re.findall(r'(\w+)(?:\[".*?"\])? --> (\w+)', block[1])
    order = [arrows[0][0], *(below for _, below in arrows)]
    assert [above for above, _ in arrows] == order[:-1], "each floor points to the one below it"
    return [labels[floor] for floor in order]


@pytest.mark.parametrize("package", LAYERS)
def test_the_picture_shows_the_rooms_of_the_contract(package: str) -> None:
    """Whoever adds a room or moves one draws it, too."""
    assert drawn(package) == [layer.replace(" | ", " · ") for layer in LAYERS[package]["layers"]]


@pytest.mark.parametrize("package", ["chassis", "users_service", "notifications_service"])
def test_every_room_is_in_the_contract(package: str) -> None:
    """A room that no contract names could know everybody."""
    contract: dict[str, Any] = LAYERS[package]
    assert contract["exhaustive"]
    named = {room for layer in contract["layers"] for room in layer.split(" | ")}
    found = {path.stem for path in (ROOT / package).glob("*.py")} | {
        path.parent.name for path in (ROOT / package).glob("*/*.py")
    }
    assert found - {"__init__"} == named


def test_the_users_service_reads_from_users_to_verifications() -> None:
    """The order in which a newcomer reads is the order of the floors."""
    floors = [layer.split(" | ") for layer in LAYERS["users_service"]["layers"]]
    reading = ["users", "credentials", "sessions", "accounts", "verifications"]
    heights = [next(number for number, floor in enumerate(floors) if room in floor) for room in reading]
    assert heights == sorted(heights, reverse=True)
