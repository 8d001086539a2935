"""What the store answers, in the domain's words."""

from collections.abc import Awaitable
from typing import TypeVar

from rooms.errors import Unavailable
from rooms.ports import StoreUnavailable

T = TypeVar("T")


async def kept(work: Awaitable[T]) -> T:
    """The store's answer. Raises: Unavailable when it failed."""
    try:
        return await work
    except StoreUnavailable as error:
        raise Unavailable from error
