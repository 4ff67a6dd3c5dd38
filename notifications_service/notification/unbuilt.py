"""Unbuilt fields of notifications: the contract has them, and a request that sets one is answered NOT_IMPLEMENTED.

Whoever builds one takes it off the list.
"""

from __future__ import annotations

from typing import Final

from chassis.contract.unbuilt import UnbuiltFields

FIELDS: Final[UnbuiltFields] = {}
