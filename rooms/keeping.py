"""What the store answers, in the domain's words."""

from collections.abc import Awaitable
from typing import TypeVar

from rooms.errors import Unavailable
from rooms.ports import StaleFence, StoreUnavailable

T = TypeVar("T")


class NotHome(Exception):
    """This instance may not decide for the room now. Nothing was decided."""


async def kept(work: Awaitable[T]) -> T:
    """The store's answer. Raises: Unavailable when it failed; NotHome when another instance has the room by now."""
    try:
        return await work
    except StoreUnavailable as error:
        raise Unavailable from error
    except StaleFence as error:
        raise NotHome from error
