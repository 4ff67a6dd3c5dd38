"""Conversion of verifications to messages of the contract, and of requests to the model."""

from __future__ import annotations

from typing import Final

from vibework.users.v1 import user_pb2
from vibework.users.v1 import verification_service_pb2 as pb

from chassis.contract.timestamps import assign
from users_service.accounts.first_proof import EndedAccess
from users_service.verifications import secrets
from users_service.verifications.model import Purpose, SecretKind, Verification
from users_service.verifications.secrets import Code, Token

# So that no number of accounts makes an answer too large. By the contract.
MOST_NAMED: Final = 1_000
PURPOSE_PREFIX = "VERIFICATION_PURPOSE_"
KIND_PREFIX = "VERIFICATION_KIND_"


def fill(target: pb.Verification, verification: Verification) -> None:
    """Write a verification into a message: never its secret."""
    target.id = verification.id
    target.purpose = pb.VerificationPurpose.Value(PURPOSE_PREFIX + verification.purpose.name)
    target.identifier = verification.identifier
    target.kind = pb.VerificationKind.Value(KIND_PREFIX + verification.kind.name)
    assign(target.created_at, verification.created_at)
    assign(target.expires_at, verification.expires_at)


def fill_ended(target: user_pb2.EndedAccess, ended: EndedAccess) -> None:
    """Write what ended with a first proof into a message that is set by it, also where nothing ended."""
    target.SetInParent()
    target.session_count = ended.session_count
    target.password = ended.password
    for way in ended.accounts[:MOST_NAMED]:
        target.accounts.add(provider=way.provider, account_id=way.account_id)


def purpose_of(value: pb.VerificationPurpose.ValueType) -> Purpose:
    """Read a purpose that validation has let pass."""
    return Purpose[pb.VerificationPurpose.Name(value).removeprefix(PURPOSE_PREFIX)]


def kind_of(value: pb.VerificationKind.ValueType) -> SecretKind:
    """Read a kind that validation has let pass."""
    return SecretKind[pb.VerificationKind.Name(value).removeprefix(KIND_PREFIX)]


def secret_of(message: pb.VerificationSecret) -> Code | Token:
    """Read the secret that the end user entered. Raises InvalidFields, or VerificationInvalid for a malformed token."""
    if message.WhichOneof("secret") == "code":
        return secrets.code(message.code.identifier, message.code.code)
    return secrets.token(message.token)
