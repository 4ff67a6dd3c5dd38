"""Vitess as docs/scaling.md sets it up: the tables of deploy/vitess by vtgate, then `migrate up`, then the service."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import pytest
from click.testing import CliRunner, Result
from vibework.testing.local.ports import LOOPBACK
from vibework.users.v1 import SignUpRequest, ValidateSessionRequest

import migrations.mysql
from tests.harness.database_servers import MySQLServer
from tests.harness.databases import MySQLDatabase, run_mysql
from tests.harness.users import BlockingStubs, users_service
from tests.harness.vitess.keyspaces import EVENTS, SHARDS, database_of, of_the_events, statements
from tests.harness.vitess.servers import stack
from users_service.cli import main
from users_service.mysql import revisions

pytestmark = [pytest.mark.vitess, pytest.mark.long]

KEYSPACE: Final = "vw_setup"
NEXT: Final = """\"\"\"Next.\"\"\"
import sqlalchemy as sa
from alembic import op
revision = "{number}"
down_revision = "{last}"
def upgrade():
    op.add_column("users", sa.Column("shoe_size", sa.Integer()))
    op.create_index("idx_shoe_size", "users", ["shoe_size"])
def downgrade():
    op.drop_index("idx_shoe_size", "users")
    op.drop_column("users", "shoe_size")
"""


def run(database: MySQLDatabase, *arguments: str) -> Result:
    """Run `users-service migrate …`."""
    return CliRunner().invoke(main, ["migrate", *arguments], env=database.environment())


def test_the_tables_come_by_vtgate_and_later_revisions_by_migrate_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On an empty keyspace the command says what comes first; then it has nothing to do, and changes every shard."""
    with stack(tmp_path / "servers", (KEYSPACE,), with_tables=False) as (behind, vtcombo):
        account = behind.account
        vtgate = MySQLServer(LOOPBACK, vtcombo.port, account.user, account.password)
        database = MySQLDatabase(LOOPBACK, vtcombo.port, account.user, account.password, KEYSPACE)
        refused = run(database, "up")
        assert refused.exit_code == 1
        assert "deploy/vitess/schema.sql" in refused.output
        run_mysql(vtgate, statements(), database=KEYSPACE)
        run_mysql(vtgate, of_the_events(), database=f"{KEYSPACE}{EVENTS}")
        # The rules come last: they would lead these statements away from the first keyspace, too.
        vtcombo.kill()
        vtcombo.is_routed = True
        vtcombo.start()
        assert run(database, "up").output == "nothing to do\n"
        assert "missing" not in run(database, "status").output
        with users_service(database) as served, served.channel() as channel:
            sessions = BlockingStubs.on(channel).sessions
            made = sessions.SignUp(SignUpRequest(email="ann@example.com", password="correct horse battery"))
            sessions.ValidateSession(ValidateSessionRequest(session_token=made.session_token))
        copy = tmp_path / "mysql"
        shutil.copytree(migrations.mysql.__path__[0], copy, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(migrations.mysql, "__path__", [str(copy)])
        last = revisions.numbers()[-1]
        number = f"{int(last) + 1:04}"
        (copy / "versions" / f"{number}_next.py").write_text(NEXT.format(number=number, last=last))
        assert run(database, "up").output == f"{number} applied\n"
        server = MySQLServer(LOOPBACK, behind.port, account.user, account.password)
        for shard in SHARDS:
            run_mysql(server, ["SELECT shoe_size FROM users"], database=database_of(KEYSPACE, shard))
        assert run(database, "down").output == f"{number} undone\n"
        assert run(database, "up", last).output == "nothing to do\n"
