"""A document from Python: in step with the others, saved when it says so, through cuts and restarts."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Map, Text, XmlFragment

from passerelle_client import Refused, Room, SharedDocument
from passerelle_client import connection as connection_module
from passerelle_client import document as document_module
from passerelle_client.document_sync import PART
from passerelle_client.errors import Disconnected
from tests.support.deadlines import SECOND
from tests.support.network_cut import cuttable_proxy
from tests.support.server_process import running_server
from tests.support.text import text_becomes

DEADLINE = 10 * SECOND
BOTH_WAYS = pytest.mark.parametrize("transports", [["websocket"], ["polling"]])


def text(document: SharedDocument) -> Text:
    return document.doc.get("text", type=Text)


async def reads(document: SharedDocument, expected: str) -> None:
    await text_becomes(text(document), expected, DEADLINE)


async def is_saved(document: SharedDocument) -> None:
    async with asyncio.timeout(DEADLINE):
        await document.saved()


async def state_is(document: SharedDocument, *wanted: str) -> None:
    changed = asyncio.Event()
    off = document.on("state", lambda _state: changed.set())
    try:
        async with asyncio.timeout(DEADLINE):
            while document.state not in wanted:
                changed.clear()
                await changed.wait()
    finally:
        off()


@BOTH_WAYS
async def test_two_write_and_read_the_same(school: Any, transports: list[str]) -> None:
    host, pupil = await school.host(transports=transports), await school.join(transports=transports)
    here, there = host.document("texte"), pupil.document("texte")
    synced: list[str] = []
    here.on("synced", lambda: synced.append("here"))
    await asyncio.gather(here.when_synced(), there.when_synced())
    assert synced == ["here"]
    text(here).insert(0, "Été 🦉. ")
    assert here.state == "unsaved"
    await is_saved(here)
    await reads(there, "Été 🦉. ")
    for number in range(50):
        text(there if number % 2 else here).insert(0, "x")
        await asyncio.sleep(0)
    await asyncio.gather(is_saved(here), is_saved(there))
    await reads(here, "x" * 50 + "Été 🦉. ")
    await reads(there, str(text(here)))
    assert host.document("texte") is here
    assert (here.unsaved_count, here.state, here.can_write) == (0, "saved", True)


@BOTH_WAYS
async def test_a_long_document_comes_in_parts(
    school: Any, transports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written = (await school.host()).document("long")
    for number in range(5):
        text(written).insert(0, f"{number} é🦉" * 50_000)
    await written.when_synced()
    await is_saved(written)
    heard: list[bytes] = []
    receive = SharedDocument.receive

    def note(self: SharedDocument, message: bytes) -> None:
        if self is not written:
            heard.append(message)
        receive(self, message)

    monkeypatch.setattr(SharedDocument, "receive", note)
    opened = (await school.join(transports=transports)).document("long")
    async with asyncio.timeout(DEADLINE):
        await opened.when_synced()
    assert str(text(opened)) == str(text(written))
    assert sum(message[0] == PART for message in heard) > 1
    assert max(map(len, heard)) < 600_000


async def test_who_begins_an_empty_text_asks_for_a_paragraph_and_there_is_one(school: Any) -> None:
    rooms = [await school.host(), await school.join(), await school.join("observer")]
    writers, reader = rooms[:2], rooms[2]
    assert str(fragment(await synced(reader.document("vide", paragraph=True)))) == "", (
        "who may not write begins nothing"
    )
    for number in range(10):
        both = [room.document(f"vide{number}", paragraph=True) for room in writers]
        await asyncio.gather(*map(synced, both))
        assert [str(fragment(each)) for each in both] == ["<paragraph></paragraph>"] * 2
    shown = fragment(await synced(reader.document("vide0")))
    assert str(shown) == "<paragraph></paragraph>"
    assert str(fragment(await synced(writers[0].document("autre")))) == "", "who does not ask gets none"


def fragment(document: SharedDocument) -> XmlFragment:
    return document.doc.get("content", type=XmlFragment)


async def synced(document: SharedDocument) -> SharedDocument:
    async with asyncio.timeout(DEADLINE):
        await document.when_synced()
    return document


async def test_documents_of_a_room_are_apart(school: Any) -> None:
    host = await school.host()
    one, other = host.document("une"), host.document("autre")
    await asyncio.gather(one.when_synced(), other.when_synced())
    text(one).insert(0, "ici")
    await is_saved(one)
    assert str(text(other)) == ""


async def test_a_document_named_in_the_lobby_opens_at_admission(school: Any) -> None:
    host = await school.host()
    guest = await school.connect(await school.token("guest", lobby=True))
    document = guest.document("texte")
    assert document.state == "loading"
    async with asyncio.timeout(DEADLINE):
        async for _event in host.events():
            if host.view.lobby:
                break
        await host.admit(host.view.lobby[0].id)
        await document.when_synced()


async def test_who_may_only_read_is_told_so(school: Any) -> None:
    host, observer = await school.host(), await school.join("observer", "Parent")
    document, hosts = observer.document("texte"), host.document("texte")
    await asyncio.gather(document.when_synced(), hosts.when_synced())
    text(hosts).insert(0, "lu")
    await reads(document, "lu")
    assert not document.can_write
    await is_saved(document)
    text(document).insert(0, "écrit ")
    with pytest.raises(Refused) as refused:
        await is_saved(document)
    assert refused.value.code == "read-only"
    assert document.state == "refused"
    assert str(text(hosts)) == "lu"


async def test_what_was_refused_is_taken_when_it_is_allowed_again(school: Any) -> None:
    host, pupil = await school.host(), await school.join()
    hosts, document = host.document("texte"), pupil.document("texte")
    await asyncio.gather(document.when_synced(), hosts.when_synced())
    access: list[bool] = []
    document.on("access", access.append)
    await host.configure(writing_enabled=False)
    await wait_for(lambda: access == [False], document)
    text(document).insert(0, "trop tôt")
    await state_is(document, "refused")
    await host.configure(writing_enabled=True)
    await state_is(document, "saved")
    await reads(hosts, "trop tôt")
    assert access == [False, True]


async def wait_for(condition: Any, document: SharedDocument) -> None:
    changed = asyncio.Event()
    off = document.on("access", lambda _can_write: changed.set())
    async with asyncio.timeout(DEADLINE):
        while not condition():
            changed.clear()
            await changed.wait()
    off()


async def test_a_cut_is_bridged_and_what_was_written_meanwhile_arrives(tmp_path: Path, make_school: Any) -> None:
    """Both write while the server is dead; one of them more than a message can hold."""
    async with running_server(tmp_path) as server:
        school = await make_school(server.url)
        host = await school.host()
        pupils = [await school.join(transports=[transport]) for transport in ("websocket", "polling")]
        documents = [room.document("texte") for room in (host, *pupils)]
        await asyncio.gather(*(document.when_synced() for document in documents))
        text(documents[0]).insert(0, "Avant. ")
        await is_saved(documents[0])
        await asyncio.gather(*(reads(document, "Avant. ") for document in documents))
        documents[0].awareness.set_local_state({"name": "Mme Roy"})
        await state_is(documents[0], "saved")
        await server.kill()
        await asyncio.gather(*(state_is(document, "offline") for document in documents))
        text(documents[0]).insert(0, "Hors ligne. ")
        for number in range(6):
            text(documents[1]).insert(0, chr(97 + number) * 300_000)
        documents[2].doc.get("carte", type=Map)["lieu"] = "Rimouski"
        waiting = [asyncio.create_task(document.saved()) for document in documents]
        await server.start()
        async with asyncio.timeout(3 * DEADLINE):
            await asyncio.gather(*waiting)
        await becomes_equal(documents)
        written = str(text(documents[0]))
        assert len(written) == len("Hors ligne. Avant. ") + 6 * 300_000
        assert "Hors ligne. Avant. " in written or written.endswith("Avant. ")
        await server.kill()
        await server.start()
        late = (await school.join()).document("texte")
        async with asyncio.timeout(DEADLINE):
            await late.when_synced()
        assert str(text(late)) == written


async def test_a_document_whose_opening_was_not_answered_in_time_is_opened_when_answers_come(
    school: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that stood still for a while, and a connection that outlived it."""
    async with cuttable_proxy(int(school.url.rpartition(":")[2])) as line:
        room = await Room.connect(line.url, school.created.token, transports=["websocket"])
        try:
            monkeypatch.setattr(connection_module, "ACKNOWLEDGEMENT_TIMEOUT_S", 0.3)
            line.hold()
            document = room.document("texte")
            with pytest.raises(Disconnected):
                await room.command("ping_room")  # asked after it, so the document's time is over as well
            monkeypatch.undo()
            line.release()
            async with asyncio.timeout(DEADLINE):
                await document.when_synced()
            assert room.connection_state == "connected"
        finally:
            await room.close()


async def test_a_document_that_could_not_be_opened_at_first_is_opened_later(
    school: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = await school.host()
    asked = room._connection.call
    refusals = [Refused("store-unavailable", "the store cannot be read now")]

    async def refuse_once(name: str, payload: Any) -> Any:
        if name == "document_open" and refusals:
            raise refusals.pop()
        return await asked(name, payload)

    monkeypatch.setattr(room._connection, "call", refuse_once)
    document = room.document("texte")
    async with asyncio.timeout(DEADLINE):
        await document.when_synced()
    assert not refusals


async def becomes_equal(documents: list[SharedDocument]) -> None:
    changed = asyncio.Event()
    observed = [(document, document.doc.observe(lambda _event: changed.set())) for document in documents]
    async with asyncio.timeout(2 * DEADLINE):
        while len({(str(text(each)), str(each.doc.get("carte", type=Map))) for each in documents}) > 1:
            changed.clear()
            await changed.wait()
    for document, subscription in observed:
        document.doc.unobserve(subscription)


async def test_one_edit_that_no_message_can_hold_is_said_to_be_too_large(school: Any) -> None:
    document = (await school.host()).document("texte")
    await document.when_synced()
    text(document).insert(0, "x" * 1_100_000)
    with pytest.raises(Refused) as refused:
        await is_saved(document)
    assert refused.value.code == "too-large"


def others_in(document: SharedDocument) -> dict[int, Any]:
    return {client: state for client, state in document.awareness.states.items() if client != document.doc.client_id}


async def awareness_becomes(document: SharedDocument, expected: list[Any]) -> None:
    changed = asyncio.Event()
    subscription = document.awareness.observe(lambda _kind, _change: changed.set())
    try:
        async with asyncio.timeout(DEADLINE):
            while list(others_in(document).values()) != expected:
                changed.clear()
                await changed.wait()
    finally:
        document.awareness.unobserve(subscription)


@BOTH_WAYS
async def test_a_document_near_the_limit_opens(school: Any, transports: list[str]) -> None:
    """19 MB come in one message."""
    host, pupil = await school.host(), await school.join(transports=transports)
    here = host.document("texte")
    await here.when_synced()
    for _ in range(47):
        text(here).insert(0, "x" * 400_000)
        await is_saved(here)
    async with asyncio.timeout(DEADLINE):
        there = pupil.document("texte")
        await there.when_synced()
    assert len(text(there)) == 47 * 400_000


async def test_cursors_are_seen_while_their_owner_is_there(school: Any) -> None:
    host, pupil = await school.host(), await school.join()
    here, there = host.document("texte"), pupil.document("texte")
    await asyncio.gather(here.when_synced(), there.when_synced())
    here.awareness.set_local_state({"user": {"name": "Mme Roy 🦉"}})
    await awareness_becomes(there, [{"user": {"name": "Mme Roy 🦉"}}])
    assert others_in(here) == {}, "who has nothing to show is not shown"
    await host._connection._client.eio.disconnect(abort=True)  # the network, not the person
    await awareness_becomes(there, [])
    await awareness_becomes(there, [{"user": {"name": "Mme Roy 🦉"}}])
    here.awareness.set_local_state(None)
    await awareness_becomes(there, [])


async def test_a_cursor_is_renewed_before_others_forget_it(school: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_module, "AWARENESS_RENEWAL_S", 0.02)
    host, pupil = await school.host(), await school.join()
    here, there = host.document("texte"), pupil.document("texte")
    await asyncio.gather(here.when_synced(), there.when_synced())
    here.awareness.set_local_state({"name": "Mme Roy"})
    await awareness_becomes(there, [{"name": "Mme Roy"}])
    clock = there.awareness.meta[here.doc.client_id]["clock"]
    async with asyncio.timeout(DEADLINE):
        while there.awareness.meta[here.doc.client_id]["clock"] < clock + 3:
            await asyncio.sleep(0.01)


async def test_a_closed_document_ends_its_waits_and_follows_no_more(school: Any) -> None:
    host, pupil = await school.host(), await school.join()
    here, there = host.document("texte"), pupil.document("texte")
    await asyncio.gather(here.when_synced(), there.when_synced())
    text(here).insert(0, "x")
    waiting = asyncio.create_task(here.saved())
    await asyncio.sleep(0)
    await host.close_document("texte")
    with pytest.raises(Disconnected):
        await waiting
    here.close()
    again = host.document("texte")
    assert again is not here
    await again.when_synced()
    text(there).insert(0, "y")
    await is_saved(there)
    await text_becomes(text(again), str(text(there)), DEADLINE)
    assert "y" not in str(text(here))
