"""How often: token buckets by identity, room or invitation, and a brake for callers who fail.

A class is one address, and so is its school: what counts is who asks (participant, room,
invitation), never the address alone. The one exception is guessing: an address is remembered for
its *failures*, with an allowance no honest school uses up, and only whoever fails is slowed
(`FailureBrake`). Pure: `now` is an argument (monotonic or epoch seconds, one kind per object),
state is bounded.
"""

import ipaddress
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from server.setting_values import Network

MAX_TRACKED_KEYS = 20_000
"""Buckets kept a limit, least recently used out first (about 4 MB): far more than the people one
process serves. A forgotten bucket is a full one."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A named allowance: `burst` at once, refilled at `per_second`. Unit and reason are the name's."""

    name: str
    burst: float
    per_second: float


CREATE_ROOM = Limit("create_room", burst=60, per_second=1.0)
"""Rooms, by API key or "this machine": a service centre makes those of a school day at once, by script."""
CREATE_INVITATION = Limit("create_invitation", burst=60, per_second=1.0)
"""Invitations, by participant: one for each of two classes' pupils, and again."""
JOIN = Limit("join", burst=300, per_second=10.0)
"""Joins, by invitation, or by the room when by code: 120 pupils in 30 s and 600 in 5 min, all at the
ring of the bell, with twice that to spare."""
RESUME = Limit("resume", burst=20, per_second=0.2)
"""Joins that bring an earlier token, by participant: a page reloaded in anger, not in a loop."""
CONNECTION = Limit("connection", burst=40, per_second=1.0)
"""New sockets, by participant: a class's companions and its documents after a cut, each tried twice."""
COMMAND = Limit("command", burst=100, per_second=20.0)
"""Room commands, by participant: a host who admits a whole class one by one, quickly."""
CHAT = Limit("chat", burst=10, per_second=1.0)
"""Chat lines, by participant: faster is not conversation."""
SIGNALING = Limit("signaling", burst=600, per_second=60.0)
"""Descriptions and candidates, by participant: 20 candidates for each of 8 connections, rebuilt three times."""
DOCUMENT_MESSAGE = Limit("document_message", burst=8_000, per_second=4_000.0)
"""Document messages, by participant: typing with cursors is 20 a second, a program that replays a history
thousands. One costs some ten microseconds, so nobody takes more than a few hundredths of the process."""
DOCUMENT_BYTES = Limit("document_bytes", burst=32 * 1024 * 1024, per_second=1024 * 1024)
"""Bytes of document messages, by participant: a whole 20 MB document sent back after a store was lost."""
AWARENESS = Limit("awareness", burst=120, per_second=30.0)
"""Cursor messages, by connection: beyond, the latest state is what counts anyway."""
HTTP_MEDIA = Limit("http_media", burst=10, per_second=0.2)
"""WHIP and WHEP sessions, by participant: each costs a DTLS handshake."""
NETWORK_CHECK = Limit("network_check", burst=60, per_second=1.0)
"""Network checks, by visitors of all addresses together: the teachers of a district on one afternoon. Each takes a
few allocations of the relay for some seconds."""
NETWORK_CHECK_HERE = Limit("network_check_here", burst=15, per_second=0.1)
"""An address's share of them, once the others have used up half: nobody is refused for the address alone."""
CHECK_BYTES = Limit("check_bytes", burst=96 * 1024 * 1024, per_second=2 * 1024 * 1024)
"""Bytes to measure lines with, of all together, both ways: a check takes 2 MiB, and a day of them no more than a
classroom's pictures."""
CHECK_BYTES_HERE = Limit("check_bytes_here", burst=24 * 1024 * 1024, per_second=256 * 1024)
"""An address's share of them, likewise."""
FAILED_ATTEMPT = Limit("failed_attempt", burst=120, per_second=0.5)
"""Wrong codes and invalid tokens, by address: of 600 pupils, one in five mistypes, in the same minutes."""

MAX_HOLD_S = 5.0
"""Longest time that the answer to a failing caller is held back: below any proxy's patience."""
MAX_GUESS_WAIT_S = 10.0
"""Longest queue of an address over its allowance; behind it the answer is "too many attempts"."""
GUESS_INTERVAL_S = 0.5
"""Pace of code checks for an address over its allowance: 172,800 a day against the millions of codes."""


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class Limiter:
    """One limit for many keys. `take` says how long to wait; 0.0 is "go on"."""

    def __init__(self, limit: Limit, max_keys: int = MAX_TRACKED_KEYS) -> None:
        self.limit = limit
        self._max_keys = max_keys
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, now: float, cost: float = 1.0) -> float:
        """Take `cost` from the key's bucket. Returns 0.0 when it was there; else nothing was
        taken, and the seconds until it will be (a cost above `burst` never will: it waits for a
        full bucket and takes all of it)."""
        bucket = self._bucket(key, now)
        cost = min(cost, self.limit.burst)
        if bucket.level >= cost:
            bucket.level -= cost
            return 0.0
        return (cost - bucket.level) / self.limit.per_second

    def level(self, key: str, now: float) -> float:
        """What is left for the key now."""
        return self._bucket(key, now).level

    def drain(self, key: str, now: float, cost: float = 1.0) -> None:
        """Take `cost` or what is left of it."""
        bucket = self._bucket(key, now)
        bucket.level = max(0.0, bucket.level - cost)

    def _bucket(self, key: str, now: float) -> _Bucket:
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = _Bucket(self.limit.burst, now)
            if len(self._buckets) > self._max_keys:
                self._buckets.popitem(last=False)
            return bucket
        self._buckets.move_to_end(key)
        # A clock that went back refills nothing, and takes nothing away.
        elapsed = max(0.0, now - bucket.at)
        bucket.level = min(self.limit.burst, bucket.level + elapsed * self.limit.per_second)
        bucket.at = max(bucket.at, now)
        return bucket


class VisitorShare:
    """For whoever has no identity yet: an allowance for all together. Only when half of it is used up does an address
    count: who took more than a share there waits, and the rest stays for the others."""

    def __init__(self, together: Limit, here: Limit, max_keys: int = MAX_TRACKED_KEYS) -> None:
        self._together = Limiter(together)
        self._here = Limiter(here, max_keys)

    def take(self, address: str, now: float, cost: float = 1.0) -> float:
        """Seconds to wait; 0.0: it was taken."""
        key = address_key(address)
        is_scarce = self._together.level("", now) < self._together.limit.burst / 2
        if is_scarce and self._here.level(key, now) < cost:
            return self._here.take(key, now, cost)
        wait_s = self._together.take("", now, cost)
        if wait_s == 0.0:
            self._here.drain(key, now, cost)
        return wait_s


class FailureBrake:
    """Slows whoever fails, at the address they fail from, and nobody else there.

    - After a failure: `record_failure` says how long to hold the answer back. A right code, link
      or token is answered at once, from the same address, at the same moment.
    - Before a *guessable* credential (a join code; never a link or token, which cannot be guessed)
      is looked up: `wait_before_guess`. It is 0 until the address has used up its allowance of
      failures; then codes from there are checked at a slow pace, right or wrong, for whoever sends
      a thousand guesses at once learns from the one that is answered quickly.
    """

    def __init__(self, limit: Limit = FAILED_ATTEMPT, max_keys: int = MAX_TRACKED_KEYS) -> None:
        self._failures = Limiter(limit, max_keys)
        self._next_guess_at: OrderedDict[str, float] = OrderedDict()
        self._max_keys = max_keys

    def record_failure(self, address: str, now: float) -> float:
        """Note a failure; the seconds to hold its answer back: 0 for the first tenth of the
        allowance (typing errors), then rising to MAX_HOLD_S as it is used up."""
        key = address_key(address)
        self._failures.drain(key, now)
        burst = self._failures.limit.burst
        used = 1.0 - self._failures.level(key, now) / burst
        return max(0.0, min(1.0, (used - 0.1) / 0.9)) * MAX_HOLD_S

    def wait_before_guess(self, address: str, now: float) -> float | None:
        """Seconds to wait before a join code from this address is looked up; None: answer "too
        many attempts" (Retry-After: MAX_GUESS_WAIT_S) without looking it up."""
        key = address_key(address)
        if self._failures.level(key, now) >= 1.0:
            return 0.0
        turn = max(now, self._next_guess_at.get(key, now))
        if turn - now > MAX_GUESS_WAIT_S:
            return None
        self._next_guess_at[key] = turn + GUESS_INTERVAL_S
        self._next_guess_at.move_to_end(key)
        if len(self._next_guess_at) > self._max_keys:
            self._next_guess_at.popitem(last=False)
        return turn - now


def address_key(address: str) -> str:
    """What counts as one address: an IPv4 address; of IPv6 its /64, for that is one household's
    or school's, who may choose any address in it (RFC 6177)."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return "unknown"
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)


MAX_FORWARDED_HOPS = 16
"""Entries of X-Forwarded-For that are looked at, from the right: more proxies than anyone chains."""


def caller_address(peer: str, forwarded_for: Sequence[str], trusted_proxies: Sequence[Network]) -> str:
    """The caller's address, from the connection and the X-Forwarded-For headers (each may hold
    several, comma separated). Only what a trusted proxy wrote is believed: from the right, the first
    address that is not a trusted proxy's. Everything to its left may be forged."""
    address = peer
    hops = [hop.strip() for header in forwarded_for for hop in header.split(",")]
    for hop in reversed(hops[-MAX_FORWARDED_HOPS:]):
        if not is_trusted(address, trusted_proxies):
            return address
        try:
            ipaddress.ip_address(hop)
        except ValueError:
            return address
        address = hop
    return address


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    """Whether it is one of the networks', as itself or mapped into IPv6."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(parsed, "ipv4_mapped", None)
    return any((mapped or parsed) in network for network in trusted)
