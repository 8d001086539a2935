"""One document's standing among the instances that have it open: who they are, and what was missed of them.

Every instance numbers the changes that it makes known of a document. A number that jumps, or a state with a
higher one than was heard, means that something was lost; so does a state vector that knows more than the
copy, and, where the vectors are equal, another digest of the deletions. What was lost is asked for, from one
instance at a time, with the copy's state vector; the answer holds the difference and every deletion.

Late and repeated messages are harmless (updates are idempotent), but the awareness in them is old.

Pure: no bus, no engine, no clock. `hear` each message, then look at `asked`, `claims` and `next_to_ask`;
`is_beat_due` and `forget_silent` are for a timer.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from rooms.documents.bus_message import BusMessage, Kind
from rooms.documents.limits import MAX_INSTANCES, HubLimits


@dataclass(slots=True)
class Claim:
    """How another instance says that it stands."""

    clocks: Mapping[int, int]
    """Its state vector, read."""
    digest: bytes
    after: int
    """To be compared once so many updates from the bus are in the copy: those that came before it."""


@dataclass(slots=True)
class Peer:
    """Another instance that has the document open."""

    number: int
    """Of its newest change that was heard of."""
    heard_at: float
    is_wanted: bool = False
    """Something of it was missed: to be asked."""
    is_unsaved: bool = False
    """It held text that is stored nowhere, when last heard."""
    claim: Claim | None = None
    compared: tuple[bytes, bytes] | None = None
    """Its digest and ours, when it was last asked because they differ: not twice for the same ones."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What to make of a message."""

    is_late: bool
    """A newer one of the same sender was heard before: its awareness is old."""


class DocumentExchange:
    def __init__(self, instance: bytes, now: float, limits: HubLimits) -> None:
        """`instance`: random, of this opening of the document; what a peer remembers of an earlier one is then
        of someone else, and expires."""
        self.instance = instance
        self.number = 0
        """Of our newest change."""
        self.peers: dict[bytes, Peer] = {}
        self.asked: dict[bytes, bytes] = {}
        """Who waits for our answer, and the state vector that it asked with; bounded by MAX_INSTANCES."""
        self.greeting: set[bytes] = set()
        """Who wants to be told how we stand; likewise."""
        self.arrived = self.integrated = 0
        """Updates from the bus that have come, and those that are in the copy."""
        self.is_reading_due = False
        """The store may hold what was missed of an instance that has gone, or is too long for a message."""
        self.is_adopting = False
        """An instance has gone that held text which is stored nowhere: what is here of it is to be stored."""
        self._limits = limits
        self._beat_at = now
        self._asking: tuple[bytes, float] | None = None
        """Who was asked, and until when it may answer."""
        self.beat(now)

    @property
    def holds_unsaved(self) -> bool:
        """What another instance told may be stored nowhere yet, by it or by whoever adopts it."""
        return self.is_adopting or any(peer.is_unsaved for peer in self.peers.values())

    # --- what comes -------------------------------------------------------------------------------

    def hear(self, message: BusMessage, now: float, clocks: Mapping[int, int] | None = None) -> Heard | None:
        """Take note of the sender. `clocks`: the state vector of a state, read. None: there are too many
        instances already, do not read it."""
        if message.kind is Kind.GOODBYE:
            return Heard(is_late=False)
        peer = self.peers.get(message.sender)
        is_whole = message.kind is Kind.ANSWER or (message.kind is Kind.STATE and message.awareness.update != b"")
        if peer is None:
            if len(self.peers) >= MAX_INSTANCES:
                return None
            peer = self.peers[message.sender] = Peer(message.number, now, is_wanted=not is_whole)
            is_late = False
            if self.number:
                # Of what we changed before we knew of anyone nobody was told: not who answered our greeting meanwhile.
                self.greeting.add(message.sender)
        else:
            is_late = self._compare_numbers(peer, message)
        peer.heard_at = now
        if not is_late:
            peer.is_unsaved = message.is_unsaved
        if message.kind is Kind.STATE:
            peer.claim = Claim(clocks or {}, message.digest, self.arrived)
            if message.wants_reply:
                self.greeting.add(message.sender)
                if self._asking is not None and self._asking[0] == message.sender:
                    self._asking = None  # it may have missed the question, too
        elif message.kind is Kind.ASK:
            self.asked[message.sender] = message.state_vector
        return Heard(is_late)

    def _compare_numbers(self, peer: Peer, message: BusMessage) -> bool:
        """Whether the message is late; a gap before it makes its sender wanted, an answer fills it."""
        known, number = peer.number, message.number
        if message.kind is Kind.CHANGE:
            if number > known + 1:
                peer.is_wanted = True
            peer.number = max(known, number)
            return number <= known
        if message.kind is Kind.ANSWER:
            if number >= known:
                peer.is_wanted = False
            if self._asking is not None and self._asking[0] == message.sender:
                self._asking = None
        elif number > known:
            peer.is_wanted = True
        peer.number = max(known, number)
        return number < known

    def note_gap(self) -> None:
        """Messages to us may have been lost, an answer among them: whoever is still wanted is asked again."""
        self._asking = None

    def forget(self, instance: bytes) -> Peer | None:
        """It has said goodbye, or nothing for too long."""
        self.asked.pop(instance, None)
        self.greeting.discard(instance)
        if self._asking is not None and self._asking[0] == instance:
            self._asking = None
        return self.peers.pop(instance, None)

    def want(self, instance: bytes) -> None:
        """Something of what it sent could not be taken."""
        peer = self.peers.get(instance)
        if peer is not None:
            peer.is_wanted = True

    # --- what is missing ----------------------------------------------------------------------------

    def claims(self) -> list[bytes]:
        """Whose can be compared with the copy now: all that came before them is in it."""
        return [
            instance
            for instance, peer in self.peers.items()
            if peer.claim is not None and peer.claim.after <= self.integrated
        ]

    def compare(self, instance: bytes, clocks: Mapping[int, int]) -> bool:
        """Settle its claim by the clocks of the copy. True: they are equal, and the digests have to tell
        (`compare_digests`)."""
        peer = self.peers[instance]
        theirs = peer.claim.clocks if peer.claim is not None else {}
        if any(clock > clocks.get(client, 0) for client, clock in theirs.items()):
            peer.is_wanted = True
            peer.claim = None
            return False
        # It knows no more, so it is equal if it knows as much; if less, it asks by itself, and answers then.
        is_equal = all(clock <= theirs.get(client, 0) for client, clock in clocks.items())
        if not is_equal or peer.claim is None or not peer.claim.digest:
            peer.claim = None
            return False
        return True

    def compare_digests(self, instance: bytes, ours: bytes) -> None:
        """Settle its claim by the digests of what is deleted."""
        peer = self.peers[instance]
        claim, peer.claim = peer.claim, None
        if claim is None or claim.digest == ours:
            return
        differing = (claim.digest, ours)
        if peer.compared != differing:
            peer.compared = differing
            peer.is_wanted = True

    def next_to_ask(self, now: float) -> bytes | None:
        """Whom to send an ASK now, if anyone: one at a time, in turn."""
        if self._asking is not None and now < self._asking[1]:
            return None
        self._asking = None
        for instance, peer in self.peers.items():
            if peer.is_wanted:
                self._asking = (instance, now + self._limits.ask_timeout_s)
                self.peers[instance] = self.peers.pop(instance)  # the others come first, if it does not answer
                return instance
        return None

    @property
    def is_asking(self) -> bool:
        """Somebody has been asked, or waits to be."""
        return self._asking is not None or any(peer.is_wanted for peer in self.peers.values())

    # --- time -----------------------------------------------------------------------------------------

    @property
    def next_beat(self) -> float:
        return self._beat_at

    def beat(self, now: float) -> None:
        """Our state goes out now. The next one not in step with other documents and instances."""
        self._beat_at = now + self._limits.heartbeat_s * random.uniform(0.8, 1.2)

    def forget_silent(self, now: float) -> dict[bytes, Peer]:
        """Those that were not heard for too long, and are forgotten."""
        before = now - self._limits.heartbeats_missed * self._limits.heartbeat_s
        silent = {instance: peer for instance, peer in self.peers.items() if peer.heard_at < before}
        for instance in silent:
            self.forget(instance)
        return silent
