"""PreferenceService on the wire, but for push subscriptions: each method converts, calls and converts back."""

from __future__ import annotations

from vibework.notifications.v1 import preference_service_pb2 as pb
from vibework.notifications.v1 import preference_service_pb2_grpc as pb_grpc

from chassis.contract.keyset import Pages, cut
from chassis.contract.pagetokens import page_size
from chassis.interceptors import Context
from notifications_service.preferences import messages, requests
from notifications_service.preferences.service import CategoryService, PreferenceService


class PreferenceServicer(pb_grpc.PreferenceServiceServicer):
    """Answers the calls; ``pages``: of ListCategories."""

    def __init__(self, service: PreferenceService, categories: CategoryService, pages: Pages[str]) -> None:
        self._service = service
        self._categories = categories
        self._pages = pages

    async def GetPreferences(self, request: pb.GetPreferencesRequest, context: Context) -> pb.GetPreferencesResponse:
        """Read a user's preferences."""
        found = await self._service.get(request.user_id)
        return pb.GetPreferencesResponse(preferences=messages.preferences(found))

    async def UpdatePreferences(
        self, request: pb.UpdatePreferencesRequest, context: Context
    ) -> pb.UpdatePreferencesResponse:
        """Change the fields that the mask names."""
        changes, named = requests.changes_of(request), request.preferences
        updated = await self._service.update(named.user_id, changes, requests.modes_of(changes), named.etag)
        return pb.UpdatePreferencesResponse(preferences=messages.preferences(updated))

    async def SetPreference(self, request: pb.SetPreferenceRequest, context: Context) -> pb.SetPreferenceResponse:
        """Set or remove one entry."""
        found = await self._service.set(request.user_id, *requests.entry_of(request))
        return pb.SetPreferenceResponse(preferences=messages.preferences(found))

    async def Unsubscribe(self, request: pb.UnsubscribeRequest, context: Context) -> pb.UnsubscribeResponse:
        """Switch off what the token of a mail is about."""
        await self._service.unsubscribe(request.token)
        return pb.UnsubscribeResponse()

    async def PutCategory(self, request: pb.PutCategoryRequest, context: Context) -> pb.PutCategoryResponse:
        """Register a category, or change one."""
        named = request.category
        stored, created = await self._categories.put(named.name, requests.values_of(named), named.etag)
        return pb.PutCategoryResponse(category=messages.category(stored), created=created)

    async def ListCategories(self, request: pb.ListCategoriesRequest, context: Context) -> pb.ListCategoriesResponse:
        """List the categories by name."""
        after, size = self._pages.after(request), page_size(request.page_size)
        found = await self._categories.page(after or "", size, include_deleted=request.include_deleted)
        rows, last = cut(found, size, lambda category: category.name)
        return pb.ListCategoriesResponse(
            categories=[messages.category(row) for row in rows], next_page_token=self._pages.token(request, last)
        )

    async def DeleteCategory(self, request: pb.DeleteCategoryRequest, context: Context) -> pb.DeleteCategoryResponse:
        """Delete a category from the list."""
        await self._categories.delete(request.name, request.etag, allow_missing=request.allow_missing)
        return pb.DeleteCategoryResponse()
