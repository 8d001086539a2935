"""Waiting for the text of a pycrdt document."""

import asyncio

from pycrdt import Text


async def text_becomes(text: Text, expected: str, timeout_s: float) -> None:
    """Until it reads so; woken by its changes."""
    changed = asyncio.Event()
    subscription = text.observe(lambda _event: changed.set())
    try:
        async with asyncio.timeout(timeout_s):
            while str(text) != expected:
                changed.clear()
                await changed.wait()
    except TimeoutError:
        raise AssertionError(f"the text is {str(text)[:200]!r}, not {expected[:200]!r}") from None
    finally:
        text.unobserve(subscription)
