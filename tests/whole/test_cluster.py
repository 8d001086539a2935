"""A class behind the real proxy, over two instances: everything an administrator is told that it does."""

import asyncio
import re
import signal
import ssl
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pycrdt
import pytest
import pytest_asyncio
from playwright.async_api import expect

from tests.support.chromium import launched_chromium
from tests.support.cluster import API_KEY, Cluster, running_cluster
from tests.support.cluster_class import Member, class_behind
from tests.support.colour_track import BLUE, RED, ColourTrack, remote, shows
from tests.support.deadlines import SECOND
from tests.support.fake_media import FakeDevice
from tests.support.media_session import loopback_for_aioice
from tests.support.network_cut import cuttable_proxy
from tests.support.page import STEP_MS, by_test, invite, join_by_code, open_room_with_key, saved, write
from tests.support.postgres_server import PostgresServer
from tests.support.room_client import yjs_connected

pytestmark = [pytest.mark.timeout(240), pytest.mark.asyncio(loop_scope="module")]
POLL = "/socket.io/?EIO=4&transport=polling"
SAYS_NOTHING = "3"
"""Engine.IO's PONG."""
IDLE_S = 12
"""Longest silence that this proxy bears: a little more than the servers' own 8 and 10 s."""
BACK_WITHIN_S = 5.0 * SECOND


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def cluster(tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer) -> AsyncIterator[Cluster]:
    async with running_cluster(tmp_path_factory.mktemp("cluster"), postgres, idle=f"{IDLE_S}s") as running:
        yield running


async def test_a_class_over_both_instances_and_both_transports_writes_one_text(cluster: Cluster) -> None:
    people = [("pupil", transport) for transport in ("websocket", "polling")] * 5
    async with class_behind(cluster.url, people) as school:
        found = {(member.instance, member.room.transport) for member in school.members}
        assert {instance for instance, _transport in found} == {"i1", "i2"}
        assert {transport for _instance, transport in found} == {"websocket", "polling"}
        for _ in range(3):
            for member in school.members:
                member.write()
            await asyncio.sleep(0.05)
        await school.until_all_read_all()
        assert [member.lost for member in school.members] == [0] * len(school.members)


async def test_a_polling_session_stays_with_its_instance_by_a_cookie_and_by_nothing_else(cluster: Cluster) -> None:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as page:
        async with page.get(cluster.url + POLL) as opened:
            sid = re.search(r'"sid":"([^"]+)"', await opened.text())
            cookie = opened.cookies["PASSERELLE"]
        assert sid is not None
        assert (cookie["httponly"], cookie["samesite"], cookie["secure"]) == (True, "Lax", "")
        path = f"{cluster.url}{POLL}&sid={sid[1]}"
        for _ in range(4):
            async with page.post(path, data=SAYS_NOTHING) as answer:
                assert answer.status == 200
        other = {"i1": "i2", "i2": "i1"}[cookie.value]
        async with cluster.http.post(path, data=SAYS_NOTHING, headers={"Cookie": f"PASSERELLE={other}"}) as answer:
            assert answer.status == 400, "by its address it would have stayed: the other knows nothing of the session"
        async with page.post(path, data=SAYS_NOTHING) as answer:
            assert answer.status == 200


async def test_whoever_was_on_an_instance_that_is_killed_goes_on_over_the_other(cluster: Cluster) -> None:
    people = [("pupil", "polling"), ("pupil", "websocket")] * 3
    async with class_behind(cluster.url, people) as school:
        # The room's home lives on: what happens when it is killed is told in test_two_instances.
        homes = [await cluster.metric(server, "passerelle_rooms_at_home") for server in cluster.instances]
        here, there = ("i1", "i2") if homes[0] <= homes[1] else ("i2", "i1")
        killed = cluster.instances[int(here[1]) - 1]
        for transport in ("websocket", "polling"):
            while (here, transport) not in {(member.instance, member.room.transport) for member in school.members}:
                await school.join("pupil", transport)
        orphans = [member for member in school.members if member.instance == here]
        for member in school.members:
            member.write()
        await killed.kill()
        for member in school.members:
            member.write()
        await school.until(lambda: all(member.instance == there for member in school.members))
        await school.until_all_read_all()
        await cluster.proxy.until(**{here: "DOWN", there: "UP"})
        newcomer = await school.join("pupil", "polling")
        assert newcomer.instance == there
        await killed.start()
        await cluster.proxy.until(**{here: "UP"})
        # Nobody who stayed was disturbed, neither by the end of the other instance nor by its return.
        stayed = [member for member in school.members if member not in orphans]
        assert [member.lost for member in stayed] == [0] * len(stayed)


# --- NET-4: what proxies and networks of schools do -------------------------------------------------


async def nobody_is_cut_in_silence(cluster: Cluster, seconds: float) -> None:
    """Nobody does anything for so long, over any transport; then they go on."""
    async with class_behind(cluster.url, [("pupil", "websocket"), ("pupil", "polling")]) as school:
        address = (cluster.http, cluster.url, school.room_id, "autre", school.host.room.token)
        async with yjs_connected(*address) as editor:
            await editor.edit("texte")
            await asyncio.sleep(seconds)
            assert [member.lost for member in school.members] == [0] * len(school.members)
            assert not editor.closed.is_set()
            for member in school.members:
                member.write()
            await school.until_all_read_all()


async def test_a_proxy_that_cuts_what_is_silent_cuts_nobody(cluster: Cluster) -> None:
    await nobody_is_cut_in_silence(cluster, IDLE_S + 2)


@pytest.mark.long
async def test_a_proxy_that_cuts_what_is_silent_for_a_minute_cuts_nobody(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    """With the file as it is."""
    async with running_cluster(tmp_path, postgres) as as_configured:
        await nobody_is_cut_in_silence(as_configured, 65)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_more_than_a_body_may_hold_is_written_at_once(cluster: Cluster, transport: str) -> None:
    """The proxy and the server take 1 MB in one piece; what was written without a connection is longer."""
    async with cuttable_proxy(cluster.proxy.port) as line, class_behind(line.url, [], host_transport=transport) as here:
        code = await here.api.create_invitation(here.room_id, here.host.room.token, "pupil", lobby=False)
        here.codes["pupil"] = code.code
        reader = await here.join("pupil", "websocket")
        write_much(here.host)
        await here.until_all_read_all()
        assert len(reader.text) > 5 * 150_000
        await line.cut()
        write_much(here.host)
        line.mend()
        await here.until_all_read_all()
        assert len(reader.text) > 10 * 150_000


def write_much(member: Member) -> None:
    """Five pieces of 300 kB, each before the last, so that none is part of another edit."""
    text = member.document.doc.get("text", type=pycrdt.Text)
    for _ in range(5):
        word = f"<{member.name}-{len(member.wrote)}>" + "é" * 150_000
        member.wrote.append(word)
        text.insert(0, word)


@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_who_has_another_address_in_mid_call_is_back_within_five_seconds(
    cluster: Cluster, transport: str
) -> None:
    """As when a tablet goes from Wi-Fi to a telephone: every connection breaks, and the next ones come from elsewhere."""
    with loopback_for_aioice():
        async with (
            class_behind(cluster.url, [("guest", "websocket")]) as school,
            cuttable_proxy(cluster.proxy.port) as line,
        ):
            host = school.host
            joined = await school.api.join("Musée", code=school.codes["guest"])
            mover = await school.enter("mover", "guest", joined.token, transport, line.url)
            await asyncio.gather(host.room.media.start(), mover.room.media.start())
            await mover.room.media.publish(ColourTrack(BLUE), "camera")
            seen = await remote(host.room.media, "camera", mover.room)
            await shows(seen.media_stream_track, BLUE)
            await mover.room.set_hand(True)
            await school.until(lambda: hand_of(host, mover))
            hand = hand_of(host, mover)
            line.source = "127.0.0.9"
            changed_at = time.monotonic()
            await line.cut()
            mover.write()
            line.mend()
            # By long polling the connection may not even be lost: a poll that broke is asked again from the new address.
            await school.until_all_read_all()
            assert time.monotonic() - changed_at < BACK_WITHIN_S
            assert mover.lost <= 1
            await mover.room.set_hand(True)
            seen = await remote(host.room.media, "camera", mover.room)
            await shows(seen.media_stream_track, BLUE)
            assert hand_of(host, mover) == hand


def hand_of(at: Member, member: Member) -> float | None:
    assert at.room.view is not None
    return next(each.hand_raised_at for each in at.room.view.participants if each.id == member.room.participant_id)


@pytest.mark.long
async def test_an_instance_that_stands_still_gets_nobody_new(cluster: Cluster) -> None:
    frozen = cluster.instances[1]
    await frozen.stand_still()
    try:
        await cluster.proxy.until(i2="DOWN", i1="UP")
        async with aiohttp.ClientSession(cookies={"PASSERELLE": "i2"}) as page:
            async with page.get(cluster.url + POLL, timeout=aiohttp.ClientTimeout(5 * SECOND)) as opened:
                assert opened.status == 200
                assert opened.cookies["PASSERELLE"].value == "i1"
    finally:
        frozen.send_signal(signal.SIGCONT)
    await cluster.proxy.until(i2="UP")


async def test_with_no_instance_ready_each_is_still_better_than_none(cluster: Cluster) -> None:
    """As when the database is down: who is in goes on writing, and whoever lost the connection comes back."""
    for name in ("i1", "i2"):
        await cluster.proxy.command(f"set server instances/{name} state maint")
    try:
        async with cluster.http.get(f"{cluster.url}/healthz") as answer:
            assert answer.status == 200
    finally:
        for name in ("i1", "i2"):
            await cluster.proxy.command(f"set server instances/{name} state ready")
    await cluster.proxy.until(i1="UP", i2="UP")


async def test_what_callers_say_of_their_address_changes_no_limit_and_is_in_no_log(cluster: Cluster) -> None:
    """SEC-6. Wrong codes are held back by the address that the proxy sees; a right one from there is not."""
    async with class_behind(cluster.url, [("class", "polling")]) as school:
        loop = asyncio.get_running_loop()

        async def try_code(number: int) -> tuple[int, float]:
            began_at = loop.time()
            forged = {"X-Forwarded-For": f"203.0.113.{number}, canari", "Forwarded": f"for=203.0.113.{number}"}
            body = {"code": f"faux-code-{number}", "name": "Zoé"}
            async with cluster.http.post(f"{cluster.url}/api/join", json=body, headers=forged) as answer:
                return answer.status, loop.time() - began_at

        # So many that the next one, over either instance, is held back for as long as a busy machine may take below.
        tried = [asyncio.create_task(try_code(number)) for number in range(160)]
        done = await asyncio.gather(*tried)
        assert {status for status, _took in done} == {404}
        assert max(took for _status, took in done) > 1.0, "each forged address had an allowance of its own"
        wrong = asyncio.create_task(try_code(1))
        joined = await school.api.join("6e A", code=school.codes["class"])
        assert not wrong.done(), "a right code from the same school waits for nothing"
        await wrong
        await school.enter("6e A", "class", joined.token, "websocket")
        # Another address, as the proxy sees it, has its whole allowance.
        elsewhere = aiohttp.TCPConnector(local_addr=("127.0.0.9", 0))
        async with aiohttp.ClientSession(connector=elsewhere) as other:
            began_at = loop.time()
            async with other.post(f"{cluster.url}/api/join", json={"code": "faux", "name": "Zoé"}) as answer:
                assert answer.status == 404
            assert loop.time() - began_at < 1.0 * SECOND
    for log in (cluster.proxy.log, *(server.log for server in cluster.instances)):
        assert log
        for word in ("canari", "203.0.113", "127.0.0.9", "faux-code"):
            assert word not in log


async def test_tls_ends_at_the_proxy_and_links_say_so(cluster: Cluster) -> None:
    context = ssl.create_default_context(cafile=str(cluster.proxy.certificate))
    headers = {"Authorization": f"Bearer {API_KEY}"}
    async with aiohttp.ClientSession() as page:
        address = f"{cluster.proxy.secure_url}/api/rooms"
        async with page.post(address, json={"name": "Les oiseaux"}, headers=headers, ssl=context) as answer:
            made = await answer.json()
            assert answer.cookies["PASSERELLE"]["secure"] is True
            assert "Strict-Transport-Security" in answer.headers
        assert made["url"].startswith(cluster.proxy.secure_url)
        forged = {**headers, "X-Forwarded-Proto": "https"}
        async with page.post(f"{cluster.url}/api/rooms", json={"name": "Les oiseaux"}, headers=forged) as answer:
            assert (await answer.json())["url"].startswith(cluster.url)
        async with page.ws_connect(
            f"{cluster.proxy.secure_url}/socket.io/?EIO=4&transport=websocket", ssl=context
        ) as ws:
            assert (await ws.receive_str(timeout=10 * SECOND)).startswith("0{")


async def test_what_is_for_the_administrator_is_not_shown_outside_and_bodies_have_their_limit(cluster: Cluster) -> None:
    for path, status in (("/metrics", 404), ("/readyz", 404), ("/healthz", 200), ("/", 200)):
        async with cluster.http.get(cluster.url + path) as answer:
            assert answer.status == status, path
    for size, is_instance in ((900_000, True), (1_100_000, False)):
        answer = await announced(cluster.proxy.port, size)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"code":"too-large"' in answer
        assert (b"server: passerelle" in answer.lower()) is is_instance, "what is longer than 1 MB reaches no instance"


async def announced(port: int, size: int) -> bytes:
    """The answer to a request that says how long its body will be, and waits."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = "POST /api/join HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {size}"
    writer.write("\r\n".join([*head, "", ""]).encode())
    try:
        async with asyncio.timeout(10 * SECOND):
            answer = b""
            while b"too-large" not in answer and (more := await reader.read(4_096)):
                answer += more
    finally:
        writer.close()
        await writer.wait_closed()
    return answer


@pytest.mark.parametrize("kind", ["interclass", "consultation"])
async def test_a_call_joins_people_who_are_on_different_instances(cluster: Cluster, kind: str) -> None:
    """By way of the server at the room's home, and from peer to peer."""
    with loopback_for_aioice():
        async with class_behind(cluster.url, [("guest", "websocket")], kind=kind) as school:
            host, guest = school.host, school.members[1]
            while host.instance == guest.instance:
                await guest.room.close()
                guest = await school.join("guest", "websocket")
            for member in (host, guest):
                await member.room.media.start()
            await host.room.media.publish(ColourTrack(RED), "camera")
            await guest.room.media.publish(ColourTrack(BLUE), "camera")
            hosts = await remote(guest.room.media, "camera", host.room)
            guests = await remote(host.room.media, "camera", guest.room)
            await asyncio.gather(shows(hosts.media_stream_track, RED), shows(guests.media_stream_track, BLUE))


async def test_the_page_through_the_proxy_in_a_real_browser(cluster: Cluster, tmp_path: Path) -> None:
    async with launched_chromium(FakeDevice("Mme Roy", (200, 40, 40), 440.0), tmp_path) as browser:
        host, pupil = [await (await browser.new_context(locale="fr-CA")).new_page() for _ in range(2)]
        await open_room_with_key(host, cluster.url, API_KEY)
        code = (await invite(host, "pupil", "6e A")).code
        await join_by_code(pupil, cluster.url, code, "Zoé")
        await write(host, "Il était une fois ")
        await saved(host)
        await expect(by_test(pupil, "editor")).to_contain_text("Il était une fois", timeout=STEP_MS)
        await write(pupil, "un grand héron.")
        await expect(by_test(host, "editor")).to_contain_text("un grand héron.", timeout=STEP_MS)
