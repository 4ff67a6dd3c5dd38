"""Puts imports together; for the composition root and for the command."""

from __future__ import annotations

from vibework.users.v1.imported_user_pb2 import ImportedUser
from vibework.users.v1.user_service_pb2_grpc import add_UserServiceServicer_to_server

from chassis.clock import Clock
from chassis.interceptors.validation import check_of
from chassis.keyring import Keyring
from chassis.serving.registration import Registration, partly_built
from chassis.slices import Slices
from users_service.accounts.tokens import TokenCipher
from users_service.imports.judging import Judge
from users_service.imports.service import ImportService
from users_service.imports.servicer import ImportServicer
from users_service.mysql.database import Database
from users_service.parts import Parts
from users_service.passwords.hasher import Passwords


def new_service(
    database: Database, passwords: Passwords, keyring: Keyring, clock: Clock, slices: Slices
) -> ImportService:
    """Make the service that takes over users."""
    judge = Judge(check_of(ImportedUser), TokenCipher(keyring))
    return ImportService(database, passwords, judge, clock, slices)


def assemble(parts: Parts) -> Registration:
    """Return the part of UserService that takes over users, with its registration."""
    service = new_service(parts.database, parts.passwords, parts.keyring, parts.clock, parts.slices)
    return add_UserServiceServicer_to_server, partly_built(ImportServicer)(service, parts.slices)
