"""Coroutines that wait for a state of an object, which wakes them when it changes."""

import asyncio
from collections.abc import Callable

from passerelle_client.errors import PasserelleError


class Waiting:
    """Whoever changes calls `settle` after each change, with the error that ends all hope, if any."""

    def __init__(self) -> None:
        self._waiters: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        self._error: PasserelleError | None = None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once it is true. Raises: the error given to `settle`."""
        if condition():
            return
        if self._error is not None:
            raise self._error
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((condition, future))
        await future

    def settle(self, error: PasserelleError | None = None) -> None:
        """Wake those whose condition has become true, or, with an error, all of them."""
        self._error = error
        waiters, self._waiters = self._waiters, []
        for condition, future in waiters:
            if future.done():
                continue  # cancelled
            if condition():
                future.set_result(None)
            elif error is not None:
                future.set_exception(error)
            else:
                self._waiters.append((condition, future))
