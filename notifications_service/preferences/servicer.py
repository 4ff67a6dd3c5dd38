"""PreferenceService on the wire, but for push subscriptions: each method converts, calls and converts back."""

from __future__ import annotations

from vibework.notifications.v1 import preference_service_pb2 as pb
from vibework.notifications.v1 import preference_service_pb2_grpc as pb_grpc

from chassis.interceptors import Context
from notifications_service.preferences import messages
from notifications_service.preferences.service import PreferenceService


class PreferenceServicer(pb_grpc.PreferenceServiceServicer):
    """Answers the calls."""

    def __init__(self, service: PreferenceService) -> None:
        self._service = service

    async def GetPreferences(self, request: pb.GetPreferencesRequest, context: Context) -> pb.GetPreferencesResponse:
        """Read a user's preferences."""
        found = await self._service.get(request.user_id)
        return pb.GetPreferencesResponse(preferences=messages.preferences(found))
