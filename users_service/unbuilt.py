"""Unbuilt fields of the users side: the contract has them, and a request that sets one is answered NOT_IMPLEMENTED.

Whoever builds one takes it off the list.
"""

from __future__ import annotations

from typing import Final

from vibework.users.v1.session_service_pb2 import ListSessionsRequest
from vibework.users.v1.user_service_pb2 import UserFilter
from vibework.users.v1.verification_service_pb2 import CreateVerificationRequest

from chassis.contract.unbuilt import UnbuiltFields

FIELDS: Final[UnbuiltFields] = {
    UserFilter: ("states",),
    ListSessionsRequest: ("include_ended",),
    CreateVerificationRequest: ("user_id",),
}
