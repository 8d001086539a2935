"""Leases of rooms in Redis: each question is one script, which Redis carries out alone.

Two keys a room, both in one slot of a cluster: who has it, which expires with the lease, and the last fence that
was given. Their names are hashes; no name of a room leaves the process. What a failover or a flush makes Redis
forget, the store remembers: it takes no room under a fence that it has seen (`RoomStore.claim_room`).
"""

import asyncio
import hashlib
from collections.abc import Awaitable, Sequence
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import RedisClusterException, RedisError

from rooms.ports import LEASE_S, Lease, LeaseHeld, LeasesUnavailable
from server.bus.redis_address import RedisAddress, RedisKind

ANSWER_TIMEOUT_S: Final = 1.0
"""For one step of one question: a lease has time for three."""
FENCE_KEPT_S: Final = 30 * 86_400
"""The last fence outlives its lease by so much, so that a room's next home seldom has to ask twice."""
AT_ONCE: Final = 16
"""Questions on their way together, and connections to Redis."""

_ACQUIRE = """
local held = redis.call('GET', KEYS[1])
local floor = tonumber(ARGV[2])
if held then
  local holder, fence = string.match(held, '^(%S+) (%d+)$')
  if holder ~= ARGV[1] then return {holder, fence, redis.call('PTTL', KEYS[1])} end
  if tonumber(fence) > floor then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
    return {holder, fence, 0}
  end
end
local fence = string.format('%.0f', math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), floor) + 1)
redis.call('SET', KEYS[2], fence, 'EX', ARGV[4])
redis.call('SET', KEYS[1], ARGV[1] .. ' ' .. fence, 'PX', ARGV[3])
return {ARGV[1], fence, 0}
"""
_RENEW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
_HAND_ON = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return false end
local last = math.max(tonumber(redis.call('GET', KEYS[2]) or '0'), tonumber(ARGV[3]))
local fence = string.format('%.0f', last + 1)
redis.call('SET', KEYS[2], fence, 'EX', ARGV[5])
redis.call('SET', KEYS[1], ARGV[2] .. ' ' .. fence, 'PX', ARGV[4])
return fence
"""
_RELEASE = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
"""
_LEASE_MS = str(int(LEASE_S * 1_000))


class RedisLeases:
    """`rooms.ports.RoomLeases` in Redis 7 or later."""

    def __init__(self, address: RedisAddress, prefix: str = "passerelle") -> None:
        """`prefix` keeps installations apart that share a Redis; so does the database number."""
        self._address = address
        self._prefix = f"{prefix}:{address.database}:"
        self._client: Any = None
        self._sentinels: Sequence[Redis] = ()
        self._opening = asyncio.Lock()
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def acquire(self, room_id: str, instance_id: str, floor: int = 0) -> Lease | LeaseHeld:
        answer = await self._run(_ACQUIRE, room_id, instance_id, str(floor), _LEASE_MS, str(FENCE_KEPT_S))
        holder, fence, left_ms = answer[0].decode(), int(answer[1]), int(answer[2])
        return Lease(room_id, holder, fence) if holder == instance_id else LeaseHeld(holder, max(left_ms, 0) / 1_000)

    async def renew(self, leases: Sequence[Lease]) -> Sequence[bool]:
        renewed = await asyncio.gather(*(self._run(_RENEW, each.room_id, _value(each), _LEASE_MS) for each in leases))
        return [bool(each) for each in renewed]

    async def pass_on(self, lease: Lease, heir: str) -> Lease | None:
        arguments = (_value(lease), heir, str(lease.fence), _LEASE_MS, str(FENCE_KEPT_S))
        fence = await self._run(_HAND_ON, lease.room_id, *arguments)
        return None if fence is None else Lease(lease.room_id, heir, int(fence))

    async def release(self, lease: Lease) -> None:
        await self._run(_RELEASE, lease.room_id, _value(lease))

    async def close(self) -> None:
        clients, self._client, self._sentinels = [self._client, *self._sentinels], None, ()
        for client in clients:
            if client is not None:
                await client.aclose()

    async def _run(self, script: str, room_id: str, *arguments: str) -> Any:
        """Raises: LeasesUnavailable."""
        slot = hashlib.sha256(room_id.encode()).hexdigest()[:32]
        keys = (f"{self._prefix}home:{{{slot}}}", f"{self._prefix}fence:{{{slot}}}")
        try:
            async with self._at_once:
                client = await self._connected()
                return await cast(Awaitable[Any], client.eval(script, len(keys), *keys, *arguments))
        except (RedisError, RedisClusterException, OSError, EOFError, TimeoutError, ValueError) as error:
            raise LeasesUnavailable(f"Redis: {type(error).__name__}") from None

    async def _connected(self) -> Any:
        async with self._opening:
            if self._client is None:
                self._client = await self._make_client()
            return self._client

    async def _make_client(self) -> Any:
        address = self._address
        options: dict[str, Any] = {
            "username": address.credentials.user,
            "password": address.credentials.password,
            "client_name": "passerelle-leases",
            "protocol": 3,
            "socket_timeout": ANSWER_TIMEOUT_S,
            "socket_connect_timeout": ANSWER_TIMEOUT_S,
            # Whoever asks asks again: a lease has no time for a library that tries for seconds.
            "retry": Retry(NoBackoff(), 0),
        }
        options |= self._encryption()
        match address.kind:
            case RedisKind.SINGLE:
                (server,) = address.servers
                return Redis(
                    host=server.host, port=server.port, db=address.database, max_connections=AT_ONCE, **options
                )
            case RedisKind.SENTINEL:
                asked = {
                    "username": address.sentinel_credentials.user,
                    "password": address.sentinel_credentials.password,
                    "socket_timeout": ANSWER_TIMEOUT_S,
                }
                servers = [(server.host, server.port) for server in address.servers]
                sentinel = Sentinel(servers, sentinel_kwargs={**asked, **self._encryption()})  # type: ignore[no-untyped-call]
                self._sentinels = sentinel.sentinels
                return sentinel.master_for(address.service, db=address.database, **options)
            case RedisKind.CLUSTER:
                nodes = [ClusterNode(server.host, server.port) for server in address.servers]
                return RedisCluster(startup_nodes=nodes, **options)

    def _encryption(self) -> dict[str, Any]:
        tls = self._address.tls
        if tls is None:
            return {}
        return {
            "ssl": True,
            "ssl_ca_certs": tls.ca,
            "ssl_certfile": tls.certificate,
            "ssl_keyfile": tls.key,
            "ssl_cert_reqs": "required",
            "ssl_check_hostname": True,
        }


def _value(lease: Lease) -> str:
    """What Redis holds while the lease is current."""
    return f"{lease.instance_id} {lease.fence}"
