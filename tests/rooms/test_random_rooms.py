"""A room under random commands by random people, most of whom have no right to them.

`RoomStage` checks after every event that what each participant heard adds up to what they would see;
here it is checked what holds however the commands fall.
"""

from collections.abc import Callable
from unittest.mock import patch

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from rooms import document_list, lobby, room
from rooms.commands import (
    Admit,
    AdmitHeld,
    AskToJoin,
    ComeBack,
    Command,
    Configure,
    Connect,
    CreateDocument,
    Deny,
    Disconnect,
    KeepWatch,
    Leave,
    Remove,
    RemoveInvited,
    Rename,
    RenameDocument,
    SetHand,
)
from rooms.errors import RoomError
from rooms.hands import raised_hands
from rooms.models import Participant, ParticipantStatus, Role, RoomKind, RoomState
from rooms.roles import Permission
from rooms.roster import admitted, has_permission, waiting
from rooms.visibility import see
from tests.support.room_stage import RoomStage

Status = ParticipantStatus
SMALL = {"MAX_ADMITTED": 6, "MAX_WAITING": 3, "MAX_HOSTS": 3}
INVITATIONS = ["museum", "school", None]

# From, to: every change of a status that there is. None: was not there.
STEPS = {
    (None, Status.WAITING),
    (None, Status.ADMITTED),
    (Status.WAITING, Status.ADMITTED),
    (Status.WAITING, Status.DENIED),
    (Status.WAITING, Status.LEFT),
    (Status.WAITING, Status.REMOVED),
    (Status.ADMITTED, Status.LEFT),
    (Status.ADMITTED, Status.REMOVED),
    (Status.LEFT, Status.ADMITTED),
    (Status.LEFT, Status.WAITING),
    (Status.LEFT, Status.REMOVED),
    (Status.DENIED, Status.REMOVED),
}


class RandomRoom(RuleBasedStateMachine):
    people = Bundle("people")

    def __init__(self) -> None:
        super().__init__()
        self._patches = [patch.object(lobby, name, bound) for name, bound in SMALL.items()]
        self._patches.append(patch.object(room, "MAX_REMEMBERED", 20))
        self._patches.append(patch.object(document_list, "MAX_DOCUMENTS", 3))
        for each in self._patches:
            each.start()
        self.stage = RoomStage(host=None)
        self.hands: list[str] = []
        self.count = 0

    def teardown(self) -> None:
        for each in self._patches:
            each.stop()

    @initialize(target=people, kind=st.sampled_from(RoomKind))
    def open_room(self, kind: RoomKind) -> object:
        self.stage = RoomStage(kind)
        return multiple("host", "stranger")

    def play(self, command: Command, actor: str | None, after_s: float = 1.0) -> bool:
        """Whether it was carried out; a refusal changes nothing."""
        before = self.stage.state
        try:
            self.stage.play(command, actor, after_s=after_s)
        except RoomError:
            assert self.stage.state is before
            return False
        for person_id in {*before.participants, *self.stage.state.participants}:
            self._check_step(before.participants.get(person_id), self.stage.state.participants.get(person_id))
        self._check_door(before, command)
        self._follow_hands(command, actor)
        return True

    def _check_step(self, old: Participant | None, new: Participant | None) -> None:
        if new is None:
            assert old is not None
            assert not old.connected, "somebody present was forgotten"
            return
        step = (old.status if old else None, new.status)
        assert step in STEPS or step[0] is step[1], step
        if old is not None:
            assert (old.role, old.invitation_id, old.label) == (new.role, new.invitation_id, new.label)

    def _check_door(self, before: RoomState, command: Command) -> None:
        """While no adult is there, nobody else comes in."""
        if before.watch.is_frozen and self.stage.state.watch.is_frozen and not isinstance(command, Admit):
            inside = {person.id for person in admitted(before)}
            came = [person for person in admitted(self.stage.state) if person.id not in inside]
            assert all(person.role is Role.HOST for person in came)

    def _follow_hands(self, command: Command, actor: str | None) -> None:
        """The line as a child would keep it: a list of names."""
        if isinstance(command, SetHand):
            whose = command.participant_id or actor
            assert whose is not None
            if not command.raised and whose in self.hands:
                self.hands.remove(whose)
            elif command.raised and whose not in self.hands:
                self.hands.append(whose)
        inside = {person.id for person in admitted(self.stage.state)}
        self.hands = [name for name in self.hands if name in inside]

    # --- what may happen -----------------------------------------------------------------------

    @rule(
        target=people,
        role=st.sampled_from(Role),
        waits=st.booleans(),
        invitation=st.sampled_from(INVITATIONS),
        after_s=st.sampled_from([0.0, 1.0, -60.0]),
    )
    def somebody_comes(self, role: Role, waits: bool, invitation: str | None, after_s: float) -> object:
        self.count += 1
        comer = f"p{self.count}"
        came = self.play(AskToJoin(comer, f"N {comer}", role, "label", invitation, waits), None, after_s)
        return comer if came else multiple()

    @rule(actor=people, target_person=people, make=st.sampled_from([Admit, Deny, Remove]))
    def somebody_decides(self, actor: str, target_person: str, make: Callable[[str], Command]) -> None:
        allowed = has_permission(self.stage.state, actor, Permission.REMOVE if make is Remove else Permission.ADMIT)
        done = self.play(make(target_person), actor)
        assert allowed or not done

    @rule(target_person=people, make=st.sampled_from([Admit, Deny, Remove]))
    def the_host_decides(self, target_person: str, make: Callable[[str], Command]) -> None:
        self.play(make(target_person), "host")

    @rule(actor=people, raised=st.booleans(), after_s=st.sampled_from([0.0, 1.0, -60.0]))
    def own_hand(self, actor: str, raised: bool, after_s: float) -> None:
        self.play(SetHand(raised), actor, after_s)

    @rule(actor=people, raised=st.booleans(), other=people)
    def anothers_hand(self, actor: str, raised: bool, other: str) -> None:
        done = self.play(SetHand(raised, other), actor)
        assert not (done and raised and actor != other)

    @rule(actor=people, command=st.sampled_from([Connect(), Disconnect(), Leave(), Rename("Nouveau nom")]))
    def comes_and_goes(self, actor: str, command: Command) -> None:
        self.play(command, actor)

    @rule(after_s=st.sampled_from([0.0, 5.0, 11.0]), command=st.sampled_from([KeepWatch(), AdmitHeld()]))
    def the_server_looks(self, after_s: float, command: Command) -> None:
        self.play(command, None, after_s)

    @rule(actor=people, needed=st.booleans())
    def somebody_says_whether_an_adult_is_needed(self, actor: str, needed: bool) -> None:
        self.play(Configure(needs_adult=needed), actor)

    @rule(person=people)
    def comes_back(self, person: str) -> None:
        self.play(ComeBack(person, "Revenu"), None)

    @rule(invitation=st.sampled_from(["museum", "school"]))
    def an_invitation_is_revoked(self, invitation: str) -> None:
        if self.play(RemoveInvited(invitation), None):
            left = [p for p in self.stage.state.participants.values() if p.invitation_id == invitation]
            assert all(person.status is Status.REMOVED for person in left)

    @rule(actor=people, chat=st.none() | st.booleans(), writing=st.none() | st.booleans())
    def somebody_configures(self, actor: str, chat: bool | None, writing: bool | None) -> None:
        done = self.play(Configure(None, chat, writing), actor)
        assert not done or has_permission(self.stage.state, actor, Permission.CONFIGURE_ROOM)

    @rule(
        actor=people,
        make=st.sampled_from([CreateDocument, RenameDocument]),
        document=st.sampled_from(["a", "b", "c", "d"]),
        title=st.sampled_from(["Récit", "Questions", " "]),
    )
    def somebody_lists_a_text(self, actor: str, make: Callable[[str, str], Command], document: str, title: str) -> None:
        done = self.play(make(document, title), actor)
        assert not done or (title.strip() and has_permission(self.stage.state, actor, Permission.MANAGE_DOCUMENTS))

    # --- what always holds ---------------------------------------------------------------------

    @invariant()
    def only_who_is_inside_sees_anything(self) -> None:
        for person in self.stage.state.participants.values():
            seen = see(self.stage.state, person.id)
            assert (seen is not None) == (person.status is Status.ADMITTED)
            if seen is not None:
                assert seen.lobby == [] or Permission.ADMIT in seen.permissions
                assert all(shown.status is Status.ADMITTED for shown in seen.participants)

    @invariant()
    def hands_are_in_the_order_in_which_they_were_raised(self) -> None:
        assert [person.id for person in raised_hands(self.stage.state)] == self.hands

    @invariant()
    def bounds_hold(self) -> None:
        inside = admitted(self.stage.state)
        hosts = sum(person.role is Role.HOST for person in inside)
        # A host who comes back into a room that stands still passes even these.
        more = hosts if self.stage.state.watch.freeze is not None else 0
        assert len(inside) <= SMALL["MAX_ADMITTED"] + more
        assert len(waiting(self.stage.state)) <= SMALL["MAX_WAITING"]
        assert hosts <= SMALL["MAX_HOSTS"] or more
        assert len(self.stage.state.participants) <= 20
        names = [one.document for one in self.stage.state.documents]
        assert len(names) == len(set(names)) <= 3

    @invariant()
    def pupils_stand_still_only_without_an_adult(self) -> None:
        state = self.stage.state
        is_watched = any(person.connected and person.role is Role.HOST for person in admitted(state))
        assert not (is_watched and (state.watch.is_frozen or state.watch.alone_since is not None))
        assert all(person.status is Status.WAITING for person in state.participants.values() if person.held)
        if state.watch.is_frozen:
            assert state.kind is not RoomKind.COMMUNITY
            for person in admitted(state):
                may_write = has_permission(state, person.id, Permission.WRITE_DOCUMENT)
                may_chat = has_permission(state, person.id, Permission.CHAT)
                assert (may_write or may_chat) == (person.role is Role.HOST)

    @invariant()
    def the_gone_are_neither_connected_nor_have_a_hand_up(self) -> None:
        for person in self.stage.state.participants.values():
            if person.status not in (Status.ADMITTED, Status.WAITING):
                assert not person.connected
                assert person.hand_raised_at is None


TestRandomRoom = RandomRoom.TestCase
# No explanation of a failure: it costs minutes, and the steps say it all.
TestRandomRoom.settings = settings(
    max_examples=150, stateful_step_count=50, deadline=None, phases=[Phase.reuse, Phase.generate, Phase.shrink]
)
