"""Toolchains of other languages: one that is missing is told, not passed over."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness.toolchains import Go, Project, TypeScript


@pytest.mark.parametrize(("kind", "told"), [(Go, "needs go,"), (TypeScript, "needs node and npm,")])
def test_a_missing_toolchain_fails_and_is_named(
    kind: type[Project], told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A machine without Go or Node does not pass for one on which the contract compiles."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(pytest.fail.Exception, match=told):
        kind.made()
