"""Listeners by event name, called in order; one that fails does not silence the others."""

import logging
from collections.abc import Callable
from typing import Any

logger = logging.getLogger("passerelle_client")

Unsubscribe = Callable[[], None]


class Emitter:
    """`listen` adds a listener and returns the function that takes it off again. Classes that others
    see have a typed `on` besides, which says what events there are."""

    def __init__(self) -> None:
        self._listeners: dict[str, list[Callable[..., None]]] = {}

    def listen(self, event: str, listener: Callable[..., None]) -> Unsubscribe:
        """Call `listener` at each `event`, from the event loop's thread."""
        listeners = self._listeners.setdefault(event, [])
        listeners.append(listener)

        def off() -> None:
            if listener in listeners:
                listeners.remove(listener)

        return off

    def emit(self, event: str, *arguments: Any) -> None:
        """For the SDK itself."""
        for listener in tuple(self._listeners.get(event, ())):
            try:
                listener(*arguments)
            except Exception:  # a caller's listener; what it raises is theirs, and must not stop the SDK
                logger.exception("a listener of %r failed", event)
