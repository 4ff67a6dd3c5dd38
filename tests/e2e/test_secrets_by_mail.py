"""A secret that is mailed stands readable nowhere: in no table, no collection, no log and no backup."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import grpc
import pymongo
import pytest
from vibework.testing.local import mail
from vibework.testing.local.ports import free_port
from vibework.users.v1 import verification_service_pb2 as pb
from vibework.users.v1 import verification_service_pb2_grpc as pb_grpc

from tests.e2e.places import held
from tests.harness.databases import MongoDatabase, MySQLDatabase
from tests.harness.mails import catching
from tests.harness.pair import running_pair
from tests.harness.patience import PATIENCE_SECONDS, wait_for

EMAIL = "ann@example.com"
URL = "https://app.example.com/in/"


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
    settings = mail.settings(port) | {"VERIFICATION_URLS": f"sign_in={URL}{{token}}", "SLOW_QUERY_MS": "1"}
    with running_pair(mysql_database, mongodb_database, log, **settings) as pair:
        have_sent(pair.users, pb.VERIFICATION_KIND_TOKEN)
        wait_for(lambda: deliveries(mongodb_database, kind="direct") == 1, "the mail to wait in the other service")
        places = held(mysql_database, mongodb_database)
        with catching(tmp_path, port) as mails:
            (text,) = mails.texts()
            wait_for(lambda: deliveries(mongodb_database, state="sent") == 1, "the mail to be sent")
            found = re.search(rf"{re.escape(URL)}(\S+)", text)
            assert found is not None
            token = found[1]
            places += held(mysql_database, mongodb_database)
            assert works(pair.users, pb.VerificationSecret(token=token))
    places += log.read_text()
    assert "SendDirect" in places
    # The first part finds the row, and so is there; the second is the secret.
    row, _, secret = token.partition(".")
    assert row in places
    assert secret not in places
