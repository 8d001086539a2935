"""A house's life: started, kept in order, drained, stopped."""

import asyncio
import time
from collections.abc import Awaitable

import structlog

from rooms.errors import RoomError
from rooms.ports import StoreUnavailable
from server.auth import KeyShare, make_key, offered_key, shared_keys
from server.house import House
from server.memory_return import give_memory_back
from server.metrics import watch_loop_lag
from server.realtime.adapter import STRANGER_S
from signaling.engines import EngineUnavailable

logger = structlog.get_logger(__name__)

HOUSEKEEPING_S = 30.0
"""How often idle rooms leave memory, tokens are renewed and gauges set."""
RETENTION_S = 6 * 3_600.0
"""How often what its retention no longer covers is deleted."""
DRAIN_RECONNECT_MS = 1_500
"""When clients should come back after a restart, before their own spread."""
DRAIN_TELL_S = 0.3
"""How long the word that we stop may travel before sockets close: one long-polling answer."""
DRAIN_NOTICED_S = 2.0
"""How long a proxy may take to notice that nobody new is to be sent here (deploy/haproxy: two checks, 1.25 s). Until
then requests that it still sends are answered as ever."""
PROBED_WITHIN_S = 5.0
"""Whoever asks /readyz twice in so long asks it again and again: there is a proxy to be told."""
HAND_OVER_S = 2.0
"""How long handing rooms over to other instances may take; what is not handed over by then is taken over."""


async def start_house(house: House) -> None:
    """Raises: StoreUnavailable."""
    await house.store.open()
    if isinstance(house.store, KeyShare):
        offered = await asyncio.to_thread(offered_key, house.settings.data)
        house.tokens.use(shared_keys(await house.store.share_token_key(offered)))
    await house.bus.open()
    await house.rooms.start()
    await house.documents.start()
    for name, engine in house.engines.items():
        try:
            await engine.start()
        except EngineUnavailable:
            # It tries on. Rooms and writing work without; who wants media meanwhile is told "media-unavailable".
            logger.error("engine_not_started", engine=name)
    house.tasks = [
        asyncio.create_task(watch_loop_lag(house.metrics)),
        asyncio.create_task(_keep_house(house)),
        asyncio.create_task(give_memory_back(lambda: house.documents.statistics().documents)),
        asyncio.create_task(_forget_old(house)),
        asyncio.create_task(_close_strangers(house)),
    ]


async def stop_house(house: House) -> None:
    """Texts are flushed, sockets closed, everything released. What does not end in time is left behind:
    all of it takes no longer than the settings' `shutdown_s`."""
    ends_at = asyncio.get_running_loop().time() + house.settings.shutdown_s
    for task in house.tasks:
        task.cancel()
    await asyncio.gather(*house.tasks, return_exceptions=True)
    # The texts come first, and get the most of the time.
    await house.documents.stop(timeout_s=house.settings.shutdown_s / 2)
    await _within(house.settings.shutdown_s / 8, _stop_sockets(house), "sockets")
    await _within(house.settings.shutdown_s / 4, _stop_media(house), "media")
    await _within(max(0.1, ends_at - asyncio.get_running_loop().time()), house.rooms.stop(), "rooms")
    await house.bus.close()
    if house.leases is not None:
        await house.leases.close()
    await house.store.close()


async def _stop_sockets(house: House) -> None:
    await asyncio.gather(house.realtime.stop(), house.yjs.stop(house.settings.shutdown_s / 10))


async def _stop_media(house: House) -> None:
    await house.media.stop()
    await asyncio.gather(*(engine.stop() for engine in house.engines.values()))


async def _within(limit_s: float, work: Awaitable[None], part: str) -> None:
    try:
        async with asyncio.timeout(limit_s):
            await work
    except TimeoutError:
        logger.warning("not_stopped_in_time", task=part)


async def drain(house: House) -> None:
    """Hand the rooms over, let the proxy notice, tell everyone, and give the word time to arrive."""
    began_at = asyncio.get_running_loop().time()
    house.draining = house.yjs.draining = house.realtime.draining = True
    await _within(HAND_OVER_S, house.rooms.leave(), "hand-over")
    if len(house.probed_at) == 2 and house.probed_at[0] > began_at - PROBED_WITHIN_S:
        await asyncio.sleep(began_at + DRAIN_NOTICED_S - asyncio.get_running_loop().time())
    house.realtime.drain(DRAIN_RECONNECT_MS)
    if len(house.connections):
        await asyncio.sleep(DRAIN_TELL_S)


async def _close_strangers(house: House) -> None:
    while True:
        await asyncio.sleep(STRANGER_S)
        house.realtime.close_strangers()


async def _keep_house(house: House) -> None:
    while True:
        await asyncio.sleep(HOUSEKEEPING_S)
        house.rooms.forget_idle()
        await _read_shared_keys(house)
        house.realtime.renew_tokens()


async def _read_shared_keys(house: House) -> None:
    if not isinstance(house.store, KeyShare):
        return
    try:
        house.tokens.use(shared_keys(await house.store.share_token_key(make_key())))
    except StoreUnavailable as error:
        logger.warning("token_keys_not_read", exc_info=error)  # those of before go on


async def _forget_old(house: House) -> None:
    while True:
        try:
            await house.store.forget_before(time.time())
        except (StoreUnavailable, RoomError) as error:
            logger.warning("retention_failed", exc_info=error)
        await asyncio.sleep(RETENTION_S)
