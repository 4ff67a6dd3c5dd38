"""Unbuilt fields of notifications: the contract has them, and a request that sets one is answered NOT_IMPLEMENTED.

Whoever builds one takes it off the list.
"""

from __future__ import annotations

from typing import Final

from vibework.notifications.v1.preferences_pb2 import Preferences

from chassis.contract.unbuilt import UnbuiltFields

FIELDS: Final[UnbuiltFields] = {
    Preferences: ("digest_time",),
}
