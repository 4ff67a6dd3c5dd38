"""A secret that is mailed stands readable nowhere: in no table, no collection, no log and no backup."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import grpc
import pymongo
import pytest
from vibework.users.v1 import verification_service_pb2 as pb
from vibework.users.v1 import verification_service_pb2_grpc as pb_grpc

from chassis.backup.compression import SUFFIX, decompressed
from tests.harness.databases import MongoDatabase, MySQLDatabase, in_own_thread
from tests.harness.mails import ENVIRONMENT, catching, settings_for
from tests.harness.pair import Pair, running_pair
from tests.harness.patience import PATIENCE_SECONDS, wait_for
from tests.harness.statements import query
from tests.harness.users import SECRET_KEYS
from tests.harness.workers import free_port

EMAIL = "ann@example.com"
URL = "https://app.example.com/in/"


def tables(database: MySQLDatabase) -> str:
    """Return all that MySQL holds."""

    async def read() -> str:
        names = [name for (name,) in await query(database, "SHOW TABLES")]
        return "".join([str(await query(database, f"SELECT * FROM `{name}`")) for name in names])

    return str(in_own_thread(read))


def collections(database: MongoDatabase) -> str:
    """Return all that MongoDB holds."""
    with pymongo.MongoClient[dict[str, Any]](database.url) as client:
        found = client.get_default_database()
        return "".join(str(list(found[name].find())) for name in found.list_collection_names())


def backup_of(package: str, settings: Mapping[str, str]) -> str:
    """Return what a service's backup holds."""
    command = [sys.executable, "-m", package, "backup", "-"]
    environment = {**ENVIRONMENT, **settings, "SECRET_KEYS": SECRET_KEYS}
    made = subprocess.run(command, env=environment, capture_output=True, timeout=PATIENCE_SECONDS, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(made)) as archive:
        files = [(member.name, archive.extractfile(member)) for member in archive]
        parts = [(name, file.read()) for name, file in files if file is not None]
    plain = [b"".join(decompressed([content])) if name.endswith(SUFFIX) else content for name, content in parts]
    return b"".join(plain).decode(errors="replace")


def held(pair: Pair) -> str:
    """Return all that both databases hold, as rows and as backups."""
    backups = backup_of("users_service", pair.mysql.environment()) + backup_of(
        "notifications_service", pair.mongodb.environment()
    )
    return tables(pair.mysql) + collections(pair.mongodb) + backups


def have_sent(address: str, kind: pb.VerificationKind.ValueType) -> None:
    """Have a secret mailed."""
    with grpc.insecure_channel(address) as channel:
        request = pb.CreateVerificationRequest(
            purpose=pb.VERIFICATION_PURPOSE_SIGN_IN,
            identifier=EMAIL,
            kind=kind,
            delivery=pb.VERIFICATION_DELIVERY_SEND_CODE,
        )
        stub = pb_grpc.VerificationServiceStub(channel)
        assert not stub.CreateVerification(request, timeout=PATIENCE_SECONDS).secret


def works(address: str, secret: pb.VerificationSecret) -> bool:
    """Use a secret."""
    with grpc.insecure_channel(address) as channel:
        request = pb.ConsumeVerificationRequest(purpose=pb.VERIFICATION_PURPOSE_SIGN_IN, secret=secret)
        stub = pb_grpc.VerificationServiceStub(channel)
        return bool(stub.ConsumeVerification(request, timeout=PATIENCE_SECONDS).verification.identifier == EMAIL)


def deliveries(database: MongoDatabase, **chosen: Any) -> int:
    """Count deliveries."""
    with pymongo.MongoClient[dict[str, Any]](database.url) as client:
        return client.get_default_database()["deliveries"].count_documents(chosen)


@pytest.mark.long
def test_a_secret_that_is_mailed_is_readable_in_the_mail_alone(
    mysql_database: MySQLDatabase, mongodb_database: MongoDatabase, tmp_path: Path
) -> None:
    """While the relay is away it waits on both sides; neither then nor when it has been sent can anybody read it."""
    port, log = free_port(), tmp_path / "log"
    settings = settings_for(port) | {"VERIFICATION_URLS": f"sign_in={URL}{{token}}", "SLOW_QUERY_MS": "1"}
    with running_pair(mysql_database, mongodb_database, log, **settings) as pair:
        have_sent(pair.users, pb.VERIFICATION_KIND_TOKEN)
        wait_for(lambda: deliveries(mongodb_database, kind="direct") == 1, "the mail to wait in the other service")
        places = held(pair)
        with catching(tmp_path, port) as mails:
            (text,) = mails.texts()
            wait_for(lambda: deliveries(mongodb_database, state="sent") == 1, "the mail to be sent")
            found = re.search(rf"{re.escape(URL)}(\S+)", text)
            assert found is not None
            token = found[1]
            places += held(pair)
            assert works(pair.users, pb.VerificationSecret(token=token))
    places += log.read_text()
    assert "SendDirect" in places
    # The first part finds the row, and so is there; the second is the secret.
    row, _, secret = token.partition(".")
    assert row in places
    assert secret not in places
