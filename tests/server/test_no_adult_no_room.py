"""ROLE-5 on real sockets over two instances: the only adult's line goes dead, with 25 pupils on the other instance."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from rooms.models import Role
from rooms.supervision import GRACE_S
from tests.support.deadlines import SECOND
from tests.support.network_cut import CuttableProxy
from tests.support.room_client import RemoteEditor, RoomClient, connected, yjs_connected
from tests.support.running_house import Person, RunningHouse
from tests.support.two_houses import Cluster, two_houses

PUPILS = 25
FROZEN_WITHIN_S = 12.0 * SECOND
THAWED_WITHIN_S = 2.0 * SECOND
COUNTER = "passerelle_room_freezes_total"


@asynccontextmanager
async def a_line_to(house: RunningHouse) -> AsyncIterator[CuttableProxy]:
    proxy = CuttableProxy(int(house.url.rsplit(":", 1)[1]))
    proxy.mend()
    try:
        yield proxy
    finally:
        proxy.release()
        await proxy.cut()


async def class_of(cluster: Cluster, stack: AsyncExitStack, host: Person, count: int) -> list[RoomClient]:
    """Pupils who are connected to the second instance."""
    invitation = await cluster.first.invite(host, "pupil", lobby=False)
    people = [await cluster.first.join(invitation, f"Élève {number}") for number in range(count)]
    clients = [await stack.enter_async_context(connected(cluster.second.url, person.token)) for person in people]
    for client in clients:
        await client.hear("room_view")
    return clients


def cursor_of(editor: RemoteEditor, seen_by: RemoteEditor) -> object:
    return seen_by.awareness.states.get(editor.doc.client_id)


def freezes(client: RoomClient) -> list[bool]:
    """What it heard: True, frozen; False, thawed."""
    return [event["freeze"]["until"] is None for event in client.room_events("freeze_changed")]


@pytest.mark.timeout(120)
async def test_when_the_only_adults_line_dies_the_room_stands_still_until_they_are_back(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(two_houses(tmp_path))
        line = await stack.enter_async_context(a_line_to(cluster.first))
        host = cluster.host
        at_host = await stack.enter_async_context(connected(line.url, host.token))
        pupils = await class_of(cluster, stack, host, PUPILS)
        text = await pupils[0].edit("texte", "Zoé")
        other = await pupils[1].edit("texte", "Léo")
        eve = await cluster.first.guest(host, "pupil", "Ève")  # who has nothing open but an editor
        address = (cluster.second.http, cluster.second.url, host.room_id, "texte", eve.token)
        yjs = yjs_connected(*address, autoping=True)
        plain = await (await stack.enter_async_context(yjs)).edit("Ève")
        text.type("Avant. ")
        await text.until(lambda: text.saved == text.sent)
        for editor in (text, plain):
            editor.show({"cursor": 0})
            await other.until(lambda editor=editor: cursor_of(editor, other) == {"cursor": 0})
        await pupils[2].do("set_hand", raised=True)
        await at_host.do("configure", lobby_roles=[role.value for role in Role])  # locked, to everyone
        # In another room an adult has two devices, of which one dies.
        elsewhere = await cluster.first.room()
        await stack.enter_async_context(connected(line.url, elsewhere.token))
        await stack.enter_async_context(connected(cluster.second.url, elsewhere.token))
        (spared,) = await class_of(cluster, stack, elsewhere, 1)
        # And in a third one the adult has nothing open any more but an editor.
        third = await cluster.first.room()
        async with connected(cluster.first.url, third.token) as at_first:
            await at_first.hear("room_view")
        yjs = yjs_connected(cluster.first.http, line.url, third.room_id, "texte", third.token, autoping=True)
        await (await stack.enter_async_context(yjs)).edit("Amélie")
        (of_editor,) = await class_of(cluster, stack, third, 1)

        line.hold()
        died_at = time.monotonic()
        for pupil in (*pupils, of_editor):
            await pupil.until(lambda pupil=pupil: freezes(pupil) == [True], seconds=FROZEN_WITHIN_S + 5)
        took_s = time.monotonic() - died_at
        assert GRACE_S - 4.0 < took_s < FROZEN_WITHIN_S

        # Nobody writes, chats or takes another name, and nothing that is written now is lost.
        assert await pupils[0].refusal("send_chat", text="Personne ne regarde") == "room-frozen"
        assert await pupils[0].refusal("rename", name="Un message") == "room-frozen"
        text.type("Pendant. ")
        for editor in (text, plain):
            editor.show({"says": "Pendant"})
        plain.type("Pendant. ")
        # In order: what was shown before is judged when this is.
        await text.until(lambda: all("read-only" in each.denials() for each in (text, plain)))
        await pupils[1].do("ping_room")
        assert other.text == "Avant. "
        assert [cursor_of(editor, other) for editor in (text, plain)] == [{"cursor": 0}] * 2
        await pupils[3].do("set_hand", raised=True)
        # Nobody comes in.
        invitation = await cluster.second.invite(host, "pupil", lobby=False)
        late = await cluster.second.join(invitation, "Retard")
        at_late = await stack.enter_async_context(connected(cluster.second.url, late.token))
        assert (await at_late.hear("lobby"))["state"] == "waiting"
        assert freezes(spared) == []

        # The adult is back, over the other instance, and past the lock.
        returned_at = time.monotonic()
        back = await stack.enter_async_context(connected(cluster.second.url, host.token))
        for pupil in pupils:
            await pupil.until(lambda pupil=pupil: freezes(pupil) == [True, False])
        assert time.monotonic() - returned_at < THAWED_WITHIN_S
        view = await back.hear("room_view")
        assert view["freeze"]["since"] < view["freeze"]["until"]
        raised = {person["name"] for person in view["participants"] if person["hand_raised_at"] is not None}
        assert raised == {"Élève 2", "Élève 3"}
        await other.until(lambda: other.text == "Avant. Pendant. Pendant. ")
        for editor in (text, plain):
            await other.until(lambda editor=editor: cursor_of(editor, other) == {"says": "Pendant"})
        await text.until(lambda: text.saved == text.sent)
        await at_late.hear("room_view")
        await pupils[0].do("send_chat", text="Bonjour")
        assert freezes(spared) == []
        line.release()
        metrics = [(await each.request("GET", "/metrics"))[1] for each in (cluster.first, cluster.second)]
        assert sum(each.count("passerelle_rooms_frozen 1.0") for each in metrics) == 1, "the third room, counted once"
        counts = [float(line.split()[1]) for each in metrics for line in each.splitlines() if line.startswith(COUNTER)]
        assert sum(counts) == 2
