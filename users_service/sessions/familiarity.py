"""Familiarity of clients: a sign-in from one that the user has not signed in from before is told to the user."""

from __future__ import annotations

import ipaddress
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from users_service.outbox.model import Notice
from users_service.outbox.notices import KNOWN_FOR, Notices
from users_service.sessions import repository
from users_service.sessions.model import ClientDetails

# Bits of an address that stand for its network: what one customer of a provider has.
_NETWORK_BITS: Final = {4: 24, 6: 48}


async def tell_of_new_client(
    connection: AsyncConnection, notices: Notices, user_id: str, client: ClientDetails, now: datetime
) -> None:
    """Leave a notice where no session of the user in 90 days had the user agent and the network of this client.

    Call it before the session of the sign-in is stored. A caller that names no client gets no notice.
    """
    if not notices.wants(Notice.NEW_SIGN_IN) or client == ClientDetails():
        return
    wanted = _seen(client)
    recent = await repository.clients_since(connection, user_id, now - KNOWN_FOR)
    if wanted not in {_seen(each) for each in recent}:
        await notices.new_sign_in(connection, user_id, client.ip_address, client.user_agent, now)


def _seen(client: ClientDetails) -> tuple[str, str]:
    return client.user_agent, network_of(client.ip_address)


def network_of(address: str) -> str:
    """Return the /24 or /48 of an address, that of IPv4 also where it is mapped into IPv6; other text as it is."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    parsed = mapped or parsed
    return str(ipaddress.ip_network((parsed, _NETWORK_BITS[parsed.version]), strict=False))
