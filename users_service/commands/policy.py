"""``users-service policy``."""

from __future__ import annotations

from vibework.users.v1 import account_service_pb2, session_service_pb2, user_service_pb2, verification_service_pb2

from chassis.commands.policy import policy_command

MODULES = (account_service_pb2, session_service_pb2, user_service_pb2, verification_service_pb2)

policy = policy_command(module.DESCRIPTOR for module in MODULES)
