"""``notifications-service policy``."""

from __future__ import annotations

from vibework.notifications.v1 import delivery_service_pb2, notification_service_pb2, preference_service_pb2

from chassis.commands.policy import policy_command

MODULES = (delivery_service_pb2, notification_service_pb2, preference_service_pb2)

policy = policy_command(module.DESCRIPTOR for module in MODULES)
