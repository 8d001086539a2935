"""A room from Python: the door, the people, what is said, and a connection that is lost."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from passerelle_client import PasserelleApi, Refused, Removed, Room
from passerelle_client.connection import LONGEST_DELAY_S, reconnection_delay_s
from passerelle_client.errors import Disconnected
from passerelle_client.protocol import ChatSent, LobbyChanged, ParticipantJoined, RoomView
from tests.support.deadlines import SECOND
from tests.support.ports import free_port
from tests.support.server_process import running_server

DEADLINE = 10 * SECOND
BOTH_WAYS = pytest.mark.parametrize("transports", [["websocket"], ["polling"]])


async def becomes(room: Room, condition: Any) -> RoomView:
    """The view, once the condition holds for it."""
    changed = asyncio.Event()
    off = room.on("view", lambda _view: changed.set())
    try:
        async with asyncio.timeout(DEADLINE):
            while room.view is None or not condition(room.view):
                changed.clear()
                await changed.wait()
    finally:
        off()
    return room.view


def in_room(view: RoomView) -> set[str]:
    return {person.name for person in view.participants}


@BOTH_WAYS
async def test_a_guest_waits_knows_nothing_and_is_admitted(school: Any, transports: list[str]) -> None:
    host = await school.host(transports=transports)
    assert host.transport == transports[0]
    guest = await school.connect(await school.token("guest", "Biodôme", lobby=True), transports=transports)
    assert (guest.lobby_state, guest.view) == ("waiting", None)
    with pytest.raises(Disconnected):
        _ = guest.participant_id
    (waiting,) = (await becomes(host, lambda view: view.lobby)).lobby
    assert waiting.name == "Biodôme"
    await host.admit(waiting.id)
    async with asyncio.timeout(DEADLINE):
        view = await guest.admitted()
    assert in_room(view) == {"Mme Roy", "Biodôme"}
    assert guest.participant_id == waiting.id
    await becomes(host, lambda view: in_room(view) == {"Mme Roy", "Biodôme"} and not view.lobby)


async def test_who_is_turned_away_is_told_and_does_not_come_back(school: Any) -> None:
    host = await school.host()
    guest = await school.connect(await school.token("guest", lobby=True))
    waiting_for = asyncio.create_task(guest.admitted())
    document = guest.document("texte")
    await host.deny((await becomes(host, lambda view: view.lobby)).lobby[0].id)
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(Removed):
            await waiting_for
        with pytest.raises(Removed):
            await document.when_synced()
    with pytest.raises(Removed):
        await guest.send_chat("Allô ?")
    with pytest.raises((Removed, Refused)):
        await school.connect(guest.token)


async def test_who_was_overtaken_asks_again_knowingly_and_who_has_gone_does_not(school: Any) -> None:
    host = await school.host()
    token = await school.token("class", "6e A")
    tabs = [await school.connect(token) for _ in range(2)]
    assert tabs[0].view is not None
    seen = tabs[0].view.seq
    await asyncio.gather(tabs[0].rename("6e A, Rimouski"), tabs[1].rename("6e A, Matane"))
    with pytest.raises(Refused) as late:
        await tabs[0].command("rename", name="6e B", seen=seen)
    assert (late.value.code, type(late.value.seq)) == ("outdated", int)
    await becomes(host, lambda view: in_room(view) & {"6e A, Rimouski", "6e A, Matane"})
    await tabs[0].command("rename", name="6e B", seen=late.value.seq)
    await becomes(host, lambda view: in_room(view) == {"Mme Roy", "6e B"})


async def test_each_of_what_can_be_set_can_be_set_twice(school: Any) -> None:
    host = await school.host()
    guest = await school.connect(await school.token("class", "6e A"))
    made = await host.create_document("Récit")
    for number in range(2):
        await guest.set_hand(number == 0)
        await guest.rename(f"6e A {number}")
        await host.configure(chat_enabled=number == 1)
        await host.spotlight(guest.participant_id if number == 0 else None)
        await host.rename_document(made.document, f"Récit {number}")
    view = await becomes(host, lambda view: view.documents[0].title == "Récit 1")
    person = next(each for each in view.participants if each.id == guest.participant_id)
    assert (person.name, person.hand_raised_at) == ("6e A 1", None)
    assert (view.settings.chat_enabled, view.settings.spotlight) == (True, None)


async def test_removing_ends_every_connection_at_once(school: Any) -> None:
    host = await school.host()
    token = await school.token("pupil", "Zoé")
    tabs = [await school.connect(token) for _ in range(2)]
    events = tabs[0].events()
    reasons: list[str] = []
    for tab in tabs:
        tab.on("removed", reasons.append)
    await host.remove(tabs[0].participant_id)
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(Removed):
            while True:
                await anext(events)
        for tab in tabs:
            with pytest.raises(Removed):
                await asyncio.gather(tab._waiting.until(lambda: False))
    assert reasons == ["removed", "removed"]
    assert {tab.connection_state for tab in tabs} == {"closed"}


@BOTH_WAYS
async def test_what_is_said_and_done_is_in_everybodys_view(school: Any, transports: list[str]) -> None:
    host, pupil = await school.host(transports=transports), await school.join(name="Zoé", transports=transports)
    lines: list[str] = []
    host.on("chat", lambda line: lines.append(line.text))
    await pupil.send_chat("On voit un héron !")
    await pupil.set_hand(True)
    await pupil.rename("Zoé B.")
    await host.configure(chat_enabled=False)
    view = await becomes(pupil, lambda view: not view.settings.chat_enabled)
    assert not pupil.can("chat")
    assert host.can("chat"), "who sets the room writes in it even then"
    with pytest.raises(Refused) as refused:
        await pupil.send_chat("Encore !")
    assert refused.value.code == "chat-disabled"
    own = next(person for person in view.participants if person.id == view.self_id)
    assert (own.name, own.hand_raised_at is not None) == ("Zoé B.", True)
    await becomes(host, lambda view: view.chat and "Zoé B." in in_room(view))
    assert lines == ["On voit un héron !"]
    await host.set_hand(False, pupil.participant_id)
    await becomes(pupil, lambda view: all(person.hand_raised_at is None for person in view.participants))


async def test_the_view_kept_by_events_is_the_one_the_server_shows(school: Any) -> None:
    host = await school.host()
    pupil = await school.join(name="Zoé")
    await pupil.send_chat("Un")
    await pupil.set_hand(True)
    guest = await school.connect(await school.token("guest", lobby=True))
    await becomes(host, lambda view: view.lobby)
    await host.admit(host.view.lobby[0].id)
    await guest.admitted()
    await guest.leave()
    await host.configure(lobby_roles=["guest", "class"])
    for room in (host, pupil):
        fresh = await school.api.get_room(school.created.room.id, room.token)
        view = await becomes(room, lambda view, fresh=fresh: view.seq >= fresh.seq)
        key = lambda person: person.id  # noqa: E731
        for one in (fresh, view):
            one.participants.sort(key=key)
        assert msgspec.to_builtins(view) == msgspec.to_builtins(fresh)


async def test_events_can_be_read_one_after_the_other(school: Any) -> None:
    host = await school.host()
    events = host.events()
    assert isinstance(await anext(events), RoomView)
    pupil = await school.join(name="Zoé")
    await pupil.send_chat("Allô")
    guest_token = await school.token("guest", lobby=True)
    await school.connect(guest_token)
    seen: list[type] = []
    async with asyncio.timeout(DEADLINE):
        while LobbyChanged not in seen:
            seen.append(type(await anext(events)))
    assert seen.index(ParticipantJoined) < seen.index(ChatSent) < seen.index(LobbyChanged)


@pytest.mark.parametrize("token", ["", "x.y.z", "eyJhbGciOiJub25lIn0.e30."])
@BOTH_WAYS
async def test_a_bad_token_is_refused_and_not_tried_for_ever(school: Any, token: str, transports: list[str]) -> None:
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(Refused) as refused:
            await school.connect(token, transports=transports)
    assert refused.value.code in ("token-invalid", "token-missing")


async def test_errors_of_the_api_say_what_was_wrong(school: Any) -> None:
    with pytest.raises(Refused) as refused:
        await school.api.join("Zoé", code="nulle-part-99")
    assert refused.value.code == "invitation-unknown"
    with pytest.raises(Refused) as refused:
        await school.api.join("", code="nulle-part-99")
    assert refused.value.code in ("invalid", "name-invalid")
    with pytest.raises(Refused) as refused:
        await school.api.list_invitations(school.created.room.id, "wrong")
    assert refused.value.code == "token-invalid"


async def test_invitations_are_listed_and_revoked(school: Any) -> None:
    room, token = school.created.room.id, school.created.token
    made = await school.api.create_invitation(room, token, "class", label="6e B", uses=2)
    listed = await school.api.list_invitations(room, token)
    assert made.id in {invitation.id for invitation in listed}
    await school.api.revoke_invitation(room, token, made.id)
    with pytest.raises(Refused):
        await school.api.join("Classe", code=made.code)


async def test_a_server_that_cannot_be_reached_is_an_error_of_its_own() -> None:
    async with PasserelleApi(f"http://127.0.0.1:{free_port()}") as api:
        with pytest.raises(Disconnected):
            await api.join("Zoé", code="x")


async def test_connecting_waits_for_a_server_that_is_not_there_yet_and_can_be_given_up() -> None:
    connecting = asyncio.create_task(Room.connect(f"http://127.0.0.1:{free_port()}", "token"))
    done, _ = await asyncio.wait([connecting], timeout=0.5)
    assert not done
    connecting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await connecting


async def test_a_restart_of_the_server_is_survived_and_what_was_missed_is_there(
    tmp_path: Path, make_school: Any
) -> None:
    async with running_server(tmp_path) as server:
        school = await make_school(server.url)
        host = await school.host()
        pupils = [
            await school.join(name=f"Élève {number}", transports=transports)
            for number, transports in enumerate([["websocket"], ["polling"], ["polling", "websocket"]])
        ]
        lines: dict[Room, list[str]] = {pupil: [] for pupil in pupils}
        for pupil in pupils:
            pupil.on("chat", lambda line, pupil=pupil: lines[pupil].append(line.text))
        await host.send_chat("Avant")
        await asyncio.gather(*(becomes(pupil, lambda view: view.chat) for pupil in pupils))

        await server.stand_still()
        calls = [asyncio.create_task(room.set_hand(True)) for room in (host, *pupils)]
        await asyncio.sleep(0)
        await server.kill()
        async with asyncio.timeout(DEADLINE / 2):
            failed = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in failed] == [Disconnected] * 4, "no call outlives its connection"
        await server.start()
        async with asyncio.timeout(2 * DEADLINE):
            await host.connected()
            await host.send_chat("Après")
            await asyncio.gather(*(pupil.connected() for pupil in pupils))
        for pupil in pupils:
            await becomes(pupil, lambda view: [line.text for line in view.chat] == ["Avant", "Après"])
            assert lines[pupil] == ["Avant", "Après"]
            await pupil.set_hand(True)


def test_a_class_does_not_come_back_in_one_instant() -> None:
    delays = [reconnection_delay_s(attempt, spread) for attempt in range(12) for spread in (0.0, 0.999)]
    assert max(delays) <= LONGEST_DELAY_S
    assert all(late > 1.9 * early for early, late in zip(delays[::2], delays[1::2], strict=True))


@BOTH_WAYS
async def test_a_connection_whose_reading_ended_without_a_word_is_made_again(
    school: Any, transports: list[str]
) -> None:
    room = await school.host(transports=transports)
    client = room._connection._client
    assert client is not None
    states: list[str] = []
    back = asyncio.Event()
    room.on("state", lambda state: (states.append(state), back.set() if state == "connected" else None))
    client.eio.read_loop_task.cancel()
    async with asyncio.timeout(DEADLINE):
        await back.wait()
    assert states == ["reconnecting", "connected"]
    await room.send_chat("Nous revoilà")


async def test_a_room_that_is_closed_in_the_middle_of_a_message_says_nothing_of_it(school: Any) -> None:
    """As when it is closed because all is saved: more of what the server says is read already."""
    room = await school.host(transports=["websocket"])
    client = room._connection._client
    assert client is not None
    with pytest.raises(ValueError):
        await client._handle_eio_message(b"d\x01")  # while the connection stands, a message without its head is a loss
    await client._handle_eio_message('51-["document_message","texte",{"_placeholder":true,"num":0}]')
    await room.close()
    await client._handle_eio_message(b"d\x01")
