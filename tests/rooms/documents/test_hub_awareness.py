"""Cursors: everyone sees the newest, nobody speaks for another, they end with their connection."""

import asyncio
import json

from rooms.documents import sync
from rooms.documents.encoding import var_bytes, var_uint
from rooms.documents.hub import DocumentHub
from rooms.documents.limits import MAX_DEPARTED_CLIENT_IDS, HubLimits
from rooms.documents.live import LiveDocument
from tests.support.documents import KEY, Access, Editor, RecordingReader, until


def entry(client_id: int, clock: int, state: object) -> bytes:
    return var_uint(client_id) + var_uint(clock) + var_bytes(json.dumps(state).encode())


def show(editor: Editor, state: dict[str, object]) -> None:
    editor.awareness.set_local_state(state)
    editor.tell(sync.awareness_message(editor.awareness.encode_awareness_update([editor.doc.client_id])))


async def test_cursors_reach_the_others_and_those_who_come_later(hub: DocumentHub) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    show(ada, {"user": {"name": "Ada 📊"}})
    await until(lambda: ben.awareness.states.get(ada.doc.client_id) == {"user": {"name": "Ada 📊"}})
    late = await Editor("late").join(hub)
    await until(lambda: ada.doc.client_id in late.awareness.states)


async def test_many_moves_leave_as_the_newest(hub: DocumentHub) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    for n in range(50):
        show(ada, {"cursor": n})
    await until(lambda: ben.awareness.states.get(ada.doc.client_id) == {"cursor": 49})
    assert len(ben.received(b"\x01")) == 1


async def test_cursor_and_text_of_one_moment_leave_in_the_same_flush(hub: DocumentHub) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    await until(lambda: hub._flushed.is_set())
    before = hub.statistics().flushes
    ada.type("a")
    show(ada, {"cursor": 1})
    await until(lambda: ben.text == "a" and ada.doc.client_id in ben.awareness.states)
    assert hub.statistics().flushes == before + 1


async def test_a_cursor_ends_with_its_connection_and_may_come_back(hub: DocumentHub) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    show(ada, {"cursor": 1})
    await until(lambda: ada.doc.client_id in ben.awareness.states)
    ada.leave()
    await until(lambda: ada.doc.client_id not in ben.awareness.states)
    assert not hub._library._documents[KEY].announced
    await ada.join(hub)
    show(ada, {"cursor": 2})
    await until(lambda: ben.awareness.states.get(ada.doc.client_id) == {"cursor": 2})


async def test_a_tab_on_its_second_connection_does_not_end_with_the_first(hub: DocumentHub) -> None:
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    show(ada, {"cursor": 1})
    await until(lambda: ada.doc.client_id in ben.awareness.states)
    first = ada.opened
    assert first is not None
    ada.connection_id = "connection-2"
    await ada.open(hub)
    show(ada, {"cursor": 2})
    await until(lambda: ben.awareness.states.get(ada.doc.client_id) == {"cursor": 2})
    first.reader = RecordingReader(ada.participant_id, "connection-ada")
    first.close()
    show(ada, {"cursor": 3})
    await until(lambda: ben.awareness.states.get(ada.doc.client_id) == {"cursor": 3})


async def test_nobody_speaks_for_another(hub: DocumentHub) -> None:
    """What a client says of others is passed over; y-websocket clients do it all the time."""
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    show(ada, {"user": "ada"})
    await until(lambda: ada.doc.client_id in ben.awareness.states)
    mallory = RecordingReader("participant-mallory", "c-m")
    opened = await hub.open(KEY, mallory, Access())
    forged = entry(ada.doc.client_id, 10_000, {"user": "forged"})
    opened.receive(sync.awareness_message(var_uint(2) + forged + entry(77, 1, {"user": "mallory"})))
    await until(lambda: 77 in ben.awareness.states)
    opened.receive(sync.awareness_message(var_uint(1) + entry(ada.doc.client_id, 10_001, None)))
    show(ada, {"user": "ada", "cursor": 5})
    await until(lambda: ben.awareness.states[ada.doc.client_id] == {"user": "ada", "cursor": 5})
    assert not mallory.denials()


async def test_a_connection_has_few_cursors(hub: DocumentHub) -> None:
    opened = await hub.open(KEY, RecordingReader(), Access())
    entries = b"".join(entry(client, 1, {}) for client in range(100, 1_100))
    opened.receive(sync.awareness_message(var_uint(1_000) + entries))
    ben = await Editor("ben").join(hub)
    await asyncio.sleep(0)
    assert len(ben.awareness.states) == 1 + hub.limits.client_ids_per_connection


async def test_query_is_answered_with_everyone(hub: DocumentHub) -> None:
    ada = await Editor("ada").join(hub)
    show(ada, {"cursor": 1})
    await until(lambda: hub._flushed.is_set())
    reader = RecordingReader("p", "c")
    opened = await hub.open(KEY, reader, Access())
    opened.start()
    reader.inbox.clear()
    opened.receive(b"\x03")
    assert reader.inbox == reader.received(b"\x01")
    assert str(ada.doc.client_id)
    assert b'"cursor"' in reader.inbox[0]


async def test_repeating_what_a_departed_client_said_does_not_make_it_ones_own(hub: DocumentHub) -> None:
    """A y-websocket client repeats all it hears, its removals too, and may do so after the server forgot them."""
    ada, ben = await Editor("ada").join(hub), await Editor("ben").join(hub)
    show(ada, {"user": "ada"})
    await until(lambda: ada.doc.client_id in ben.awareness.states)
    (heard,) = ben.received(b"\x01")
    ada.leave()
    await until(lambda: ada.doc.client_id not in ben.awareness.states)
    gone = ben.received(b"\x01")[-1]
    ben.tell(heard)
    ben.tell(gone)
    await until(lambda: hub._flushed.is_set())
    assert hub._library._documents[KEY].awareness.whole_state() is None
    carl = await Editor("carl").join(hub)
    ada.connection_id = "connection-2"
    await ada.open(hub)
    ada.tell(heard)  # with the clock at which it had gone
    await until(lambda: ada.doc.client_id in carl.awareness.states)


async def test_a_plain_client_is_made_to_say_its_state_with_a_higher_clock_once(hub: DocumentHub) -> None:
    plain = await Editor("ada", wants_acknowledgement=False).join(hub)
    ours = await Editor("ben").join(hub)
    for editor in (plain, ours):
        show(editor, {"cursor": 1})
        await until(lambda: hub._flushed.is_set())
        show(editor, {"cursor": 2})
        await until(lambda: hub._flushed.is_set())
    about_itself = [
        entry(plain.doc.client_id, clock, None) in message for message in plain.received(b"\x01") for clock in (1, 2)
    ]
    assert about_itself.count(True) == 1
    assert not any(b"null" in message for message in ours.received(b"\x01"))


async def test_a_silenced_reader_shows_no_cursor_until_it_may(hub: DocumentHub) -> None:
    access = Access()
    ada = await Editor("ada").join(hub, access=access)
    ben, carl = await Editor("ben").join(hub), await Editor("carl").join(hub)
    show(ada, {"cursor": 1})
    await until(lambda: ada.doc.client_id in ben.awareness.states)
    access.silenced = True
    hub.rights_changed()
    for words in ("Un", "message"):
        show(ada, {"says": words})
    late = await Editor("late").join(hub)
    show(carl, {"cursor": 2})  # whatever else there is to show goes out, and hers does not
    await until(lambda: carl.doc.client_id in ben.awareness.states and carl.doc.client_id in late.awareness.states)
    for each in (ben, late):
        assert each.awareness.states[ada.doc.client_id] == {"cursor": 1}
        assert not any(b"says" in message for message in each.received(b"\x01"))
    access.silenced = False
    hub.rights_changed()
    await until(lambda: ben.awareness.states[ada.doc.client_id] == {"says": "message"})
    await until(lambda: late.awareness.states[ada.doc.client_id] == {"says": "message"})
    show(ada, {"cursor": 3})
    await until(lambda: ben.awareness.states[ada.doc.client_id] == {"cursor": 3})


async def test_who_comes_silenced_is_shown_when_they_may_be_and_who_goes_silenced_never(hub: DocumentHub) -> None:
    access = Access(silenced=True)
    ben = await Editor("ben").join(hub)
    ada = await Editor("ada", wants_acknowledgement=False).join(hub, access=access)
    eve = await Editor("eve").join(hub, access=access)
    show(ada, {"cursor": 1})
    show(eve, {"cursor": 1})
    eve.leave()
    await until(lambda: hub._flushed.is_set())
    assert ben.received(b"\x01") == []
    access.silenced = False
    hub.rights_changed()
    await until(lambda: ada.doc.client_id in ben.awareness.states)
    assert eve.doc.client_id not in ben.awareness.states
    # A plain client is told that it had gone, so that it says so again for who saw it go.
    await until(lambda: any(entry(ada.doc.client_id, 1, None) in message for message in ada.received(b"\x01")))


async def test_client_ids_of_the_departed_are_remembered_within_bounds() -> None:
    live = LiveDocument(KEY, HubLimits())
    for client in range(MAX_DEPARTED_CLIENT_IDS + 10):
        live.announce(client, "ada")
        live.depart(client)
    assert live.speaker_of(9) is None
    assert live.speaker_of(10) == "ada"
    assert live.owner_of(10) is None  # whoever writes first under it has it
    assert len(live._departed) == MAX_DEPARTED_CLIENT_IDS
