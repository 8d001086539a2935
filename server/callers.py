"""Who calls, by address: whoever fails is held back, and nobody else there."""

import asyncio
import time

from aiohttp import web

from server.config import Settings
from server.error_answers import Refusal
from server.limits import FailureBrake, caller_address

GUESSES_RETRY_S = 30.0
"""When an address with a full queue of wrong codes should try again."""


class Callers:
    """Shared by every way in, so that failures count together whichever way they come."""

    def __init__(self, settings: Settings, brake: FailureBrake) -> None:
        self._trusted = settings.trusted_proxies
        self._brake = brake

    def address(self, request: web.Request) -> str:
        forwarded_for = request.headers.getall("X-Forwarded-For", [])
        return caller_address(request.remote or "", forwarded_for, self._trusted)

    async def hold_back(self, request: web.Request) -> None:
        """After a failure: its answer comes later and later; a right code or token from the same
        school is answered at once."""
        await asyncio.sleep(self._brake.record_failure(self.address(request), time.monotonic()))

    async def wait_before_guess(self, request: web.Request) -> None:
        """Before a join code is looked up. Raises: Refusal."""
        wait_s = self._brake.wait_before_guess(self.address(request), time.monotonic())
        if wait_s is None:
            raise Refusal("too-many-requests", "Too many wrong codes from here.", retry_after_s=GUESSES_RETRY_S)
        await asyncio.sleep(wait_s)
