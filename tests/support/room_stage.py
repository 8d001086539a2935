"""A room played without a loop: commands in, and after each one everybody's picture is checked.

`RoomStage.play` decides and applies like the manager does, then compares, for every participant, what
they can have put together from what they heard with what they would be shown afresh.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rooms.commands import AskToJoin, Command
from rooms.events import Event
from rooms.models import Freeze, Participant, ParticipantStatus, Role, RoomDocument, RoomKind, RoomSettings, RoomState
from rooms.roles import Permission, default_settings
from rooms.room import apply, decide
from rooms.visibility import (
    Changed,
    Configured,
    FreezeChanged,
    Heard,
    Joined,
    Left,
    Listed,
    Lobby,
    Retitled,
    RoomSeen,
    YouAreAdmitted,
    YouAreDenied,
    YouAreOut,
    hear,
    see,
)

STARTED_AT = 1_800_000_000.0


def empty_room(kind: RoomKind = RoomKind.INTERCLASS) -> RoomState:
    return RoomState(
        id="room",
        name="Les baleines",
        kind=kind,
        created_at=STARTED_AT,
        last_active_at=STARTED_AT,
        settings=default_settings(kind),
    )


@dataclass(frozen=True)
class Picture:
    """What a client draws."""

    participants: dict[str, Participant]
    lobby: list[Participant]
    settings: RoomSettings
    permissions: frozenset[Permission]
    documents: list[RoomDocument]
    freeze: Freeze | None

    @classmethod
    def fresh(cls, seen: RoomSeen | None) -> "Picture | None":
        if seen is None:
            return None
        people = {person.id: person for person in seen.participants}
        return cls(
            people,
            list(seen.lobby),
            seen.state.settings,
            seen.permissions,
            list(seen.documents),
            seen.state.watch.freeze,
        )

    def after(self, heard: Heard) -> "Picture | None":
        match heard:
            case Joined(person) | Changed(person):
                return replace(self, participants={**self.participants, person.id: person})
            case Left(person_id):
                assert person_id in self.participants, "told of somebody leaving who was not there"
                return replace(self, participants={k: v for k, v in self.participants.items() if k != person_id})
            case Lobby(waiting):
                return replace(self, lobby=list(waiting))
            case Configured(settings, permissions):
                return replace(self, settings=settings, permissions=permissions)
            case FreezeChanged(freeze, permissions):
                return replace(self, freeze=freeze, permissions=permissions)
            case Listed(document):
                assert all(document.document != one.document for one in self.documents), "listed twice"
                return replace(self, documents=[*self.documents, document])
            case Retitled(document):
                assert any(document.document == one.document for one in self.documents), "renamed, and not listed"
                renamed = [document if document.document == one.document else one for one in self.documents]
                return replace(self, documents=renamed)
            case YouAreOut() | YouAreDenied():
                return None
        raise AssertionError(f"{heard} told to somebody inside")


class RoomStage:
    """One room in play; `now` rises by a second with each command unless a test says otherwise."""

    def __init__(self, kind: RoomKind = RoomKind.INTERCLASS, host: str | None = "host") -> None:
        self.state = empty_room(kind)
        self.now = STARTED_AT
        self.heard: dict[str, list[Heard]] = {}
        """What the last command made each participant hear."""
        if host is not None:
            self.bring(host, Role.HOST)

    def bring(
        self, participant_id: str, role: Role = Role.CLASS, *, lobby: bool = False, invitation: str | None = None
    ) -> Participant:
        """Somebody who comes with an invitation."""
        self.play(AskToJoin(participant_id, participant_id, role, f"label of {participant_id}", invitation, lobby))
        return self.person(participant_id)

    def person(self, participant_id: str) -> Participant:
        return self.state.participants[participant_id]

    def status(self, participant_id: str) -> ParticipantStatus:
        return self.person(participant_id).status

    def play(self, command: Command, actor: str | None = None, *, after_s: float = 1.0) -> Sequence[Event]:
        """The events. Raises: RoomError, and then nothing has changed."""
        self.now += after_s
        events = decide(self.state, command, actor, self.now)
        assert decide(self.state, command, actor, self.now) == events, "the same question, another answer"
        self.heard = {}
        for event in events:
            before, self.state = self.state, apply(self.state, event, self.now)
            assert self.state.seq == before.seq + 1
            for viewer_id in {*before.participants, *self.state.participants}:
                self._check_viewer(before, event, viewer_id)
        return events

    def _check_viewer(self, before: RoomState, event: Event, viewer_id: str) -> None:
        heard = list(hear(before, self.state, event, viewer_id))
        self.heard.setdefault(viewer_id, []).extend(heard)
        had, has = Picture.fresh(see(before, viewer_id)), Picture.fresh(see(self.state, viewer_id))
        if had is None:
            self._check_outsider(heard, viewer_id, is_inside_now=has is not None)
            return
        picture: Picture | None = had
        for each in heard:
            assert picture is not None, "told something after being put out"
            picture = picture.after(each)
        assert picture == has, f"{viewer_id} is shown something else than they heard"

    def _check_outsider(self, heard: Sequence[Heard], viewer_id: str, *, is_inside_now: bool) -> None:
        """Whoever has no picture is told of their own fate, or that it is time to ask for a picture."""
        if is_inside_now:
            assert all(isinstance(each, YouAreAdmitted | Joined | Lobby) for each in heard)
            if any(isinstance(each, YouAreAdmitted) for each in heard):
                assert len(heard) == 1, "one who waited is told to look afresh, and nothing besides"
        else:
            assert all(isinstance(each, YouAreDenied | YouAreOut) for each in heard), f"{viewer_id} heard {heard}"
