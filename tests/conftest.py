"""What every test can ask for: the harness's fixtures."""

from __future__ import annotations

pytest_plugins = ["tests.harness.database_fixtures", "tests.harness.users"]
