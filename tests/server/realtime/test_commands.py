"""What may be asked over Socket.IO: by whom, in what shape, and how it is answered."""

import asyncio
from typing import Any

import pytest

from rooms.models import Role, RoomKind, RoomSettings
from rooms.roles import ROLES_OF_KIND, Permission, permissions_of
from server.wire.registry import COMMANDS
from tests.support.room_client import RoomClient
from tests.support.running_house import Person, RunningHouse

ROLES = (Role.CLASS, Role.PUPIL, Role.GUEST, Role.OBSERVER)


class Stage:
    """A room with one person of each role inside, and somebody in its lobby for each try."""

    def __init__(self, house: RunningHouse, enter: Any) -> None:
        self.house = house
        self.enter = enter
        self.host: Person
        self.host_client: RoomClient

    async def begin(self) -> None:
        self.host = await self.house.room()
        self.host_client = await self.enter(self.host)

    async def client_of(self, role: Role) -> RoomClient:
        if role is Role.HOST:
            person = await self.house.guest(self.host, role="host", name="Luc")
        else:
            person = await self.house.guest(self.host, role=role.value, name=role.value)
        client: RoomClient = await self.enter(person)
        await client.hear("room_view")
        return client

    async def waiting(self) -> str:
        return (await self.house.guest(self.host, name="À la porte", lobby=True)).id

    async def raised_hand(self) -> str:
        person = await self.house.guest(self.host, name="Main levée")
        client = await self.enter(person)
        await client.do("set_hand", raised=True)
        return person.id


async def _admit(stage: Stage) -> dict[str, Any]:
    return {"participant_id": await stage.waiting()}


async def _remove(stage: Stage) -> dict[str, Any]:
    return {"participant_id": (await stage.house.guest(stage.host)).id}


async def _lower(stage: Stage) -> dict[str, Any]:
    return {"raised": False, "participant_id": await stage.raised_hand()}


async def _rename_document(stage: Stage) -> dict[str, Any]:
    created = await stage.host_client.do("create_document", title="Récit")
    return {"document": created["document"], "title": "Récit à plusieurs mains"}


TRIES: list[tuple[Permission, str, Any]] = [
    (Permission.ADMIT, "admit", _admit),
    (Permission.REMOVE, "remove", _remove),
    (Permission.CONFIGURE_ROOM, "configure", {"chat_enabled": True}),
    (Permission.CONFIGURE_ROOM, "spotlight", {"participant_id": None}),
    (Permission.MANAGE_DOCUMENTS, "create_document", {"title": "Visite", "template": "Qui ?"}),
    (Permission.MANAGE_DOCUMENTS, "rename_document", _rename_document),
    (Permission.LOWER_HANDS, "set_hand", _lower),
    (Permission.RAISE_HAND, "set_hand", {"raised": True}),
    (Permission.CHAT, "send_chat", {"text": "Bonjour"}),
    (Permission.READ_DOCUMENT, "document_open", {"document": "texte"}),
    # The room has no such track: who may mute is told so, who may not is told that.
    (Permission.MUTE_OTHERS, "mute_other", {"track_id": "none"}),
]


@pytest.mark.parametrize("role", list(Role))
async def test_commands_follow_the_table_of_permissions(house: RunningHouse, enter, role: Role) -> None:
    stage = Stage(house, enter)
    await stage.begin()
    client = await stage.client_of(role)
    may = permissions_of(role, RoomSettings(), RoomKind.INTERCLASS)
    view = await client.do("get_room")
    assert set(view["permissions"]) == {permission.value for permission in may}
    for permission, command, fields in TRIES:
        given = fields if isinstance(fields, dict) else await fields(stage)
        answer = await client.call(command, given)
        refused = answer.get("error", {}).get("code")
        expected = None if permission in may else "permission-denied"
        if permission is Permission.MUTE_OTHERS and permission in may:
            expected = "not-found"
        assert refused == expected, (role, permission, answer)


@pytest.mark.parametrize("role", ROLES)
async def test_invitations_are_for_who_may_invite(house: RunningHouse, role: Role) -> None:
    host = await house.room()
    person = await house.guest(host, role=role.value)
    path = f"/api/rooms/{host.room_id}/invitations"
    invitation = await house.invite(host, "guest")
    for method, where, body in (
        ("POST", path, {"role": "guest"}),
        ("GET", path, None),
        ("DELETE", f"{path}/{invitation['id']}", None),
    ):
        status, answer = await house.request(method, where, token=person.token, json=body)
        assert (status, answer["error"]["code"]) == (403, "permission-denied"), method
        status, _answer = await house.request(method, where, token=host.token, json=body)
        assert status in (200, 201, 204)


async def test_roles_of_another_kind_of_room_are_refused(house: RunningHouse) -> None:
    host = await house.room(kind="consultation")
    for role in Role:
        status, _body = await house.request(
            "POST", f"/api/rooms/{host.room_id}/invitations", token=host.token, json={"role": role.value}
        )
        assert (status == 201) == (role in ROLES_OF_KIND[RoomKind.CONSULTATION])


async def test_settings_change_what_each_may_do_at_once(house: RunningHouse, enter) -> None:
    stage = Stage(house, enter)
    await stage.begin()
    pupil = await stage.client_of(Role.PUPIL)
    editor = await pupil.edit("texte", "Léa")
    editor.type("avant ")
    await editor.until(lambda: editor.all_saved)

    await stage.host_client.do("configure", chat_enabled=False, writing_enabled=False)

    changed = await pupil.hear_in_room("settings_changed")
    assert "chat" not in changed["permissions"]
    assert "write_document" not in changed["permissions"]
    assert await pupil.refusal("send_chat", text="Bonjour") == "chat-disabled"
    editor.type("pendant ")
    await editor.until(lambda: "read-only" in editor.denials())
    at_host = await stage.host_client.edit("texte", "Amélie")
    assert at_host.text == "avant "

    await stage.host_client.do("configure", writing_enabled=True)
    await editor.until(lambda: editor.all_saved)
    await at_host.until(lambda: at_host.text == "avant pendant ")


# --- shapes ---------------------------------------------------------------------------------------


async def test_every_command_refuses_what_it_does_not_know(house: RunningHouse, enter) -> None:
    client = await enter(await house.room())
    for command in COMMANDS:
        answer = await client.call(command, {"nonsense": "Éléonore"})
        assert answer["error"]["code"] == "invalid", command
        assert "Éléonore" not in str(answer)
        assert "nonsense" not in str(answer)


@pytest.mark.parametrize(
    ("command", "payload", "field"),
    [
        ("set_hand", {"raised": "yes"}, "$.raised"),
        ("send_chat", {"text": ""}, "$.text"),
        ("send_chat", {"text": "x" * 2_001}, "$.text"),
        ("admit", {"participant_id": "../etc"}, "$.participant_id"),
        ("document_open", {"document": "texte\n"}, "$.document"),
        ("document_open", {"document": "é"}, "$.document"),
        ("media_start", {"session_id": 7}, "$.session_id"),
        ("media_candidate", {"session_id": "s", "pc": "publish", "candidate": {"candidate": "x" * 2_000}},
         "$.candidate.candidate"),
        ("rename", {}, None),
        ("rename", [], None),
        ("rename", "Luc", None),
        ("rename", b"Luc", None),
    ],
)  # fmt: skip
async def test_wrong_payloads_are_named(house: RunningHouse, enter, command: str, payload: Any, field: Any) -> None:
    client = await enter(await house.room())
    answer = await client.call(command, payload)
    assert answer["error"]["code"] == "invalid"
    assert answer["error"].get("field") == field


@pytest.mark.parametrize("name", ["nonsense", "connect_error", "room_view", "*", ""])
async def test_unknown_events_are_answered_with_an_error(house: RunningHouse, enter, name: str) -> None:
    client = await enter(await house.room())
    assert await client.refusal(name) == "unknown-command"


@pytest.mark.parametrize("event", ["connect", "disconnect", "*", 5, None, True, ["connect"], {"connect": 1}])
async def test_events_named_like_the_librarys_own_do_nothing(house: RunningHouse, enter, event: Any) -> None:
    host = await house.room()
    client, other = await enter(host), await enter(await house.guest(host))
    await client.hear("room_view")
    victim = other.sio.get_sid()
    for arguments in ([{"aiohttp.request": 1}, {"token": host.token}], [victim, "leave", {}], []):
        await client.sio._send_packet(client.sio.packet_class(2, namespace="/", data=[event, *arguments]))
    assert await client.do("ping_room") == {"ok": True}
    assert await other.do("ping_room") == {"ok": True}
    assert len(house.house.connections) == 2


@pytest.mark.parametrize(
    "arguments", [(), ("texte",), ("texte", "not bytes"), (b"x", b"y"), ("texte", b"x", b"y"), ({"a": 1}, b"x")]
)
async def test_document_messages_of_another_shape_are_refused(house: RunningHouse, enter, arguments: Any) -> None:
    client = await enter(await house.room())
    if sum(isinstance(argument, bytes) for argument in arguments) > 1:
        # More than one attachment is no packet of this protocol: it is dropped.
        await client.sio.emit("document_message", arguments)
    else:
        answer = await client.sio.call("document_message", arguments, timeout=5)
        assert answer["error"]["code"] == "invalid"
    assert await client.do("ping_room") == {"ok": True}


async def test_announced_attachments_are_not_kept(house: RunningHouse, enter) -> None:
    client = await enter(await house.room())
    await client.hear("room_view")
    engine = client.sio.eio
    await engine.send('59999999-["document_message",{"_placeholder":true,"num":0}]')
    for _ in range(20):
        await engine.send(b"\x00" * 100_000)
    assert await client.do("ping_room") == {"ok": True}
    assert house.house.realtime.server._binary_packet == {}


@pytest.mark.parametrize(
    "packet", ["2[]", '2[{"a":1}]', "2[null]", "2[5]", "2" + "[" * 50_000, "9", "5-", "", "2nonsense"]
)
async def test_broken_packets_disturb_nobody(house: RunningHouse, enter, packet: str) -> None:
    host = await house.room()
    client, other = await enter(host), await enter(await house.guest(host))
    await client.sio.eio.send(packet)
    assert await other.do("ping_room") == {"ok": True}


# --- answers and events ---------------------------------------------------------------------------


async def test_events_are_numbered_so_that_a_gap_shows(house: RunningHouse, enter) -> None:
    host = await house.room()
    amelie, luc = await enter(host), await enter(await house.guest(host, name="Luc"))
    view = await luc.hear("room_view")
    await amelie.do("set_hand", raised=True)
    await amelie.do("send_chat", text="un")
    await house.guest(host, lobby=True)  # not for Luc's eyes, and yet numbered
    await amelie.do("rename", name="Amélie B.")
    await luc.until(lambda: len(luc.room_events("participant_changed")) >= 2)
    seq = view["seq"]
    for message in luc.all("room_event"):
        assert message["prev"] == seq
        assert message["seq"] >= seq
        seq = message["seq"]
    assert seq > view["seq"] + 2
    assert (await luc.do("get_room"))["seq"] == seq
    assert luc.room_events("lobby_changed") == []


async def test_commands_of_one_connection_keep_their_order(house: RunningHouse, enter) -> None:
    amelie = await enter(await house.room())
    await asyncio.gather(*(amelie.say("rename", {"name": f"Amélie {number}"}) for number in range(30)))
    await amelie.hear_in_room("participant_changed", lambda event: event["participant"]["name"] == "Amélie 29")
    names = [event["participant"]["name"] for event in amelie.room_events("participant_changed")]
    assert [name for name in names if name[-1].isdigit()] == [f"Amélie {number}" for number in range(30)]


async def test_chat_reaches_everyone_once_and_is_in_the_view(house: RunningHouse, enter) -> None:
    host = await house.room()
    amelie, pupil = await enter(host), await enter(await house.guest(host, role="pupil", name="Léa"))
    await pupil.do("send_chat", text="Bonjour à tous", client_id="line-1")
    await pupil.do("send_chat", text="Bonjour à tous", client_id="line-1")
    line = (await amelie.hear_in_room("chat_sent"))["line"]
    assert (line["name"], line["text"]) == ("Léa", "Bonjour à tous")
    view = await amelie.do("get_room")
    assert [each["text"] for each in view["chat"]] == ["Bonjour à tous"]
    assert len(amelie.room_events("chat_sent")) == 1
    assert await pupil.refusal("send_chat", text=" \n ") == "invalid"


async def test_too_many_chat_lines_are_refused_and_nobody_else_is_slowed(house: RunningHouse, enter) -> None:
    host = await house.room()
    amelie, pupil = await enter(host), await enter(await house.guest(host, role="pupil"))
    answers = await asyncio.gather(*(pupil.call("send_chat", {"text": f"{n}"}) for n in range(30)))
    refused = [answer["error"]["code"] for answer in answers if "error" in answer]
    assert set(refused) == {"too-many-requests"}
    assert len(refused) >= 15
    assert await amelie.do("send_chat", text="Doucement") == {"ok": True}


async def test_hands_are_seen_and_lowered(house: RunningHouse, enter) -> None:
    host = await house.room()
    pupil = await house.guest(host, role="pupil")
    amelie, lea = await enter(host), await enter(pupil)
    await lea.do("set_hand", raised=True)
    raised = await amelie.hear_in_room("participant_changed", lambda event: event["participant"]["hand_raised_at"])
    assert raised["participant"]["id"] == pupil.id
    await amelie.do("set_hand", raised=False, participant_id=pupil.id)
    await lea.hear_in_room(
        "participant_changed",
        lambda event: event["participant"]["id"] == pupil.id and event["participant"]["hand_raised_at"] is None
        and len(lea.room_events("participant_changed")) > 1,
    )  # fmt: skip
    assert await lea.refusal("set_hand", raised=False, participant_id=host.id) == "permission-denied"


async def test_media_that_cannot_start_says_so_and_the_room_goes_on(house: RunningHouse, enter) -> None:
    amelie = await enter(await house.room())
    assert await amelie.refusal("media_start") == "media-unavailable"
    assert await amelie.refusal("media_stop", session_id="nothing") == "unknown-session"
    assert await amelie.do("send_chat", text="Sans image, mais ensemble") == {"ok": True}


async def test_consultation_media_never_touch_the_server(house: RunningHouse, enter) -> None:
    host = await house.room(kind="consultation")
    psychologist = await enter(host)
    pupil = await enter(await house.guest(host, role="pupil"))
    first = await psychologist.do("media_start")
    second = await pupil.do("media_start")
    assert (first["engine"], second["engine"]) == ("p2p", "p2p")
    assert [peer["session_id"] for peer in second["peers"]] == [first["session_id"]]
    joined = await psychologist.hear("media_peer_joined")
    assert joined["peer"]["session_id"] == second["session_id"]
