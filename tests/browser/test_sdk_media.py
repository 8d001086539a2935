"""The browser SDK's media in real Chromium: both engines, tracks that come and go, cuts and restarts."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.support.chromium import launched_chromium
from tests.support.deadlines import SECOND
from tests.support.janus_server import own_address, running_janus, settings_for
from tests.support.media_session import eventually
from tests.support.network_cut import network_processes
from tests.support.page import STEP_MS
from tests.support.sdk_page import GREEN, RED, bundle_sdk, sdk_context, sdk_page, sees, wait_for
from tests.support.server_process import ServerProcess, running_server
from tests.support.session_setup import post, room_of_two
from tests.support.turn_server import running_deployed_turn_server

pytestmark = [pytest.mark.timeout(120), pytest.mark.asyncio(loop_scope="module")]
CUT_S = 8.0
REMOVED_WITHIN_S = 0.5


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> str:
    return bundle_sdk(tmp_path_factory.mktemp("sdk"))


TRUST = "--ignore-certificate-errors"
"""The relay's certificate is self-made here; a real one is needed in service."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Browser, Browser]]:
    """Two browsers with cameras of their own, for all tests here."""
    folder = tmp_path_factory.mktemp("devices")
    async with launched_chromium(RED, folder, TRUST) as red, launched_chromium(GREEN, folder, TRUST) as green:
        yield red, green


@dataclass
class Person:
    browser: Browser
    page: Page
    token: str
    tracks: dict[str, str]
    """source → track id"""


@dataclass
class Stage:
    server: ServerProcess
    red: Person
    green: Person


@contextlib.asynccontextmanager
async def stage(
    script: str, pair: tuple[Browser, Browser], server: ServerProcess, kind: str = "interclass", before: str = "0"
) -> AsyncIterator[Stage]:
    """Two people with cameras of their own, in one room, each seeing the other. `before` runs first in each page."""
    _room, tokens = await room_of_two(server, kind)
    people = []
    try:
        for browser, token in zip(pair, tokens, strict=True):
            page = await sdk_page(await sdk_context(browser), server, script)
            await page.evaluate(before)
            assert await page.evaluate("(token) => enter(token)", token) == "admitted"
            people.append(Person(browser, page, token, await page.evaluate("publishCamera()")))
        red, green = people
        for person in people:
            await person.page.evaluate("room.media.start()")
        await each_sees_the_other(red, green)
        yield Stage(server, red, green)
    finally:
        for context in (*pair[0].contexts, *pair[1].contexts):
            await context.close()


async def each_sees_the_other(red: Person, green: Person, deadline_s: float = 20.0 * SECOND) -> None:
    await asyncio.gather(
        sees(green.page, red.tracks["camera"], RED.rgb, deadline_s),
        sees(red.page, green.tracks["camera"], GREEN.rgb, deadline_s),
    )


async def hears(page: Page) -> None:
    """Sound arrives: its energy rises."""
    before = sum((await page.evaluate("loudness()")).values())
    await wait_for(
        page, "async (before) => Object.values(await loudness()).reduce((a, b) => a + b, 0) > before", before
    )


PACKETS_OF_SOUND = """
async () => {
  // While five pictures come.
  const count = async () => {
    const counts = { audio: 0, video: 0 };
    for (const { report } of await room.media.peerConnectionStats())
      for (const stats of report.values())
        if (stats.type === 'inbound-rtp') counts[stats.kind] += stats.kind === 'audio' ? stats.packetsReceived : stats.framesDecoded ?? 0;
    return counts;
  };
  const before = await count();
  for (;;) {
    const now = await count();
    if (now.video >= before.video + 5) return now.audio - before.audio;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
"""


async def a_device_beside_the_board_has_no_sound_for_a_while(on: Stage) -> None:
    red, green = on.red.page, on.green.page
    await wait_for(green, PACKETS_OF_SOUND)
    await green.evaluate("room.media.setWithoutSound(true)")
    await wait_for(red, "(id) => !seen.has(id)", on.green.tracks["microphone"])
    await wait_for(green, f"async () => (await ({PACKETS_OF_SOUND})()) === 0")
    await sees(red, on.green.tracks["camera"], GREEN.rgb)
    assert await red.evaluate("room.view.tracks.filter(({ kind }) => kind === 'audio').length") == 1
    await green.evaluate("room.media.setWithoutSound(false)")
    await wait_for(red, "(id) => seen.has(id)", on.green.tracks["microphone"])
    await asyncio.gather(hears(red), hears(green))


SENT_SOUND = """
async () => {
  for (const { report } of await room.media.peerConnectionStats())
    for (const stats of report.values())
      if (stats.type === 'outbound-rtp' && stats.kind === 'audio')
        return { format: report.get(stats.codecId)?.sdpFmtpLine ?? '', bytes: stats.bytesSent, packets: stats.packetsSent };
}
"""
SIZE_OF_SOUND = """
async ([packets, inFull]) => {
  // Bytes a packet, over so many of them.
  const look = %s;
  const before = await look();
  for (;;) {
    const now = await look();
    const count = now.packets - before.packets;
    if (now.format.includes('maxaveragebitrate=96000') !== inFull) return 0;
    if (count >= packets) return (now.bytes - before.bytes) / count;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
"""


async def sound_goes_out_in_full_for_a_while(on: Stage) -> None:
    red, green = on.red.page, on.green.page
    size = SIZE_OF_SOUND % SENT_SOUND
    usual = await wait_for(red, size, [50, False])
    await red.evaluate("room.media.setDetailedSound(true)")
    in_full = await wait_for(red, size, [50, True])
    assert "usedtx=0" in (await red.evaluate(f"({SENT_SOUND})()"))["format"]
    assert in_full > 1.8 * usual
    await hears(green)
    await red.evaluate("room.media.setDetailedSound(false)")
    assert await wait_for(red, size, [50, False]) < 1.3 * usual


async def tracks_come_go_and_change(on: Stage) -> None:
    red, green = on.red.page, on.green.page
    screen = await red.evaluate("publishColour('#2850c8', 'screen')")
    await sees(green, screen, (40, 80, 200))
    await sees(green, on.red.tracks["camera"], RED.rgb)
    await red.evaluate("(id) => room.media.unpublish(id)", screen)
    await wait_for(green, "(id) => !seen.has(id)", screen)
    again = await red.evaluate("publishColour('#c8b428', 'screen')")
    await sees(green, again, (200, 180, 40))
    await red.evaluate("async (id) => room.media.replace(id, await publishColour('#2850c8'))", on.red.tracks["camera"])
    await sees(green, on.red.tracks["camera"], (40, 80, 200))


async def muting_is_known_and_a_host_mutes(on: Stage) -> None:
    red, green = on.red.page, on.green.page
    microphone = on.green.tracks["microphone"]
    muted = "([id, muted]) => room.view.tracks.some((track) => track.id === id && track.muted === muted)"
    await green.evaluate("(id) => room.media.setMuted(id, true)", microphone)
    await wait_for(red, muted, [microphone, True])
    await green.evaluate("(id) => room.media.setMuted(id, false)", microphone)
    await wait_for(red, muted, [microphone, False])
    await red.evaluate("(id) => room.muteOther(id)", microphone)
    await wait_for(green, "(id) => events.some((event) => event[0] === 'mutedByHost' && event[1] === id)", microphone)
    await wait_for(
        green,
        "(id) => room.media.localTracks.some((t) => t.id === id && t.muted && !t.mediaStreamTrack.enabled)",
        microphone,
    )
    await wait_for(red, muted, [microphone, True])


@pytest.mark.parametrize(
    ("kind", "engine"),
    [("interclass", "sfu"), pytest.param("interclass", "janus", marks=pytest.mark.long), ("consultation", "p2p")],
)
async def test_tracks_flow_come_go_and_are_muted(
    script: str, pair: tuple[Browser, Browser], server: ServerProcess, tmp_path: Path, kind: str, engine: str
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        if engine == "janus":
            gateway = await stack.enter_async_context(running_janus(tmp_path / "janus"))
            server = await stack.enter_async_context(running_server(tmp_path, settings_for(gateway)))
        on = await stack.enter_async_context(stage(script, pair, server, kind))
        assert await on.red.page.evaluate("room.media.engine") == engine
        await asyncio.gather(hears(on.red.page), hears(on.green.page))
        await wait_for(
            on.green.page, "(id) => events.some((event) => event[0] === 'speakers' && event[1].includes(id))",
            await on.red.page.evaluate("room.view.self_id"),
        )  # fmt: skip
        await a_device_beside_the_board_has_no_sound_for_a_while(on)
        await sound_goes_out_in_full_for_a_while(on)
        await tracks_come_go_and_change(on)
        await muting_is_known_and_a_host_mutes(on)
        await on.green.page.evaluate("room.media.stop()")
        await wait_for(on.red.page, "() => seen.size === 0")
        assert await on.green.page.evaluate("[room.media.state, room.media.localTracks.length]") == ["idle", 0]
        on.green.tracks = await on.green.page.evaluate("publishCamera()")
        await on.green.page.evaluate("room.media.start()")
        await sees(on.red.page, on.green.tracks["camera"], GREEN.rgb)
        for person in (on.red, on.green):
            assert not [line for line in person.page.console_lines if line.startswith("uncaught")]  # type: ignore[attr-defined]


async def test_two_and_a_viewer_by_janus_when_one_is_removed_and_a_gateway_dies(
    script: str, pair: tuple[Browser, Browser], tmp_path: Path
) -> None:
    async with contextlib.AsyncExitStack() as stack:
        gateways = [await stack.enter_async_context(running_janus(tmp_path / name)) for name in ("one", "two")]
        server = await stack.enter_async_context(running_server(tmp_path, settings_for(*gateways)))
        on = await stack.enter_async_context(stage(script, pair, server))
        viewer = await viewer_of(on, script)
        for person, device in ((on.red, RED), (on.green, GREEN)):
            await sees(viewer, person.tracks["camera"], device.rgb)
        await hears(viewer)
        # A gateway's log is written by a thread of its own.
        used = await eventually(lambda: next((g for g in gateways if "WebRTC media is now available" in g.log), None))
        await used.kill()
        await wait_for(viewer, "() => events.some((e) => e[0] === 'media' && e[1] === 'reconnecting')")
        await each_sees_the_other(on.red, on.green)
        for person, device in ((on.red, RED), (on.green, GREEN)):
            await sees(viewer, person.tracks["camera"], device.rgb)
        camera = on.green.tracks["camera"]
        await on.red.page.evaluate("(id) => room.remove(id)", await on.green.page.evaluate("room.view.self_id"))
        await wait_for(viewer, "(id) => !seen.has(id)", camera, deadline_s=REMOVED_WITHIN_S * SECOND)
        await sees(viewer, on.red.tracks["camera"], RED.rgb)


async def viewer_of(on: Stage, script: str) -> Page:
    """Somebody who only watches, in a tab beside the host's."""
    room = await on.red.page.evaluate("room.view.room.id")
    invitation = await post(
        on.server, f"/api/rooms/{room}/invitations", {"role": "guest", "lobby": False}, on.red.token
    )
    token = (await post(on.server, "/api/join", {"code": invitation["code"], "name": "Visiteur"}))["token"]
    page = await sdk_page(await sdk_context(on.red.browser), on.server, script)
    assert await page.evaluate("(token) => enter(token)", token) == "admitted"
    await page.evaluate("room.media.start()")
    return page


RELAY_ONLY = """() => {
  const Connection = RTCPeerConnection;
  globalThis.RTCPeerConnection = class extends Connection {
    constructor(configuration) { super({ ...configuration, iceTransportPolicy: 'relay' }); }
  };
}"""
RELAYED_OVER = """
async () => {
  const found = new Set();
  for (const { report } of await room.media.peerConnectionStats())
    for (const stats of report.values())
      if (stats.type === 'candidate-pair' && stats.nominated) {
        const local = report.get(stats.localCandidateId);
        found.add(`${local.candidateType} ${local.relayProtocol}`);
      }
  return [...found];
}
"""


async def test_who_may_use_nothing_but_tls_is_seen_and_heard(
    script: str, pair: tuple[Browser, Browser], tmp_path: Path
) -> None:
    """Through coturn as it is deployed, over `turns:`; two people, both ways."""
    folder = tmp_path / "coturn"
    folder.mkdir()
    async with contextlib.AsyncExitStack() as stack:
        relay = await stack.enter_async_context(running_deployed_turn_server(folder, "tests-only", own_address()))
        environment = {
            "PASSERELLE_MEDIA_ADDRESSES": own_address(),
            "TURN_URLS": f"turns:localhost:{relay.tls}?transport=tcp",
            "TURN_SECRET": "tests-only",
        }
        server = await stack.enter_async_context(running_server(tmp_path, environment))
        on = await stack.enter_async_context(stage(script, pair, server, before=RELAY_ONLY))
        await asyncio.gather(hears(on.red.page), hears(on.green.page))
        for person in (on.red, on.green):
            assert await person.page.evaluate(RELAYED_OVER) == ["relay tls"]


async def test_a_consultation_leaves_nothing_in_the_browser(
    script: str, browser: Browser, server: ServerProcess
) -> None:
    """Next to a class, whose text is kept."""
    async with contextlib.AsyncExitStack() as stack:
        for kind, kept in (("interclass", 1), ("consultation", 0)):
            created = await post(server, "/api/rooms", {"name": "Rencontre", "kind": kind})
            context = await stack.enter_async_context(await sdk_context(browser))
            page = await sdk_page(context, server, script)
            # Opened before anything is known of the room, as a reloaded page does.
            await page.evaluate("(token) => { globalThis.room = new Passerelle.Room({ token }) }", created["token"])
            await page.evaluate("globalThis.texte = room.document('texte'); texte.doc.getText('t').insert(0, 'mot')")
            await page.evaluate("room.connect()")
            await page.wait_for_function("texte.state === 'saved'", timeout=STEP_MS)
            await wait_for(
                page,
                "async (kept) => (await indexedDB.databases()).filter(({ name }) => name.includes('/')).length === kept",
                kept,
            )


async def test_the_server_restarts_and_everything_flows_again(
    script: str, pair: tuple[Browser, Browser], tmp_path: Path
) -> None:
    async with running_server(tmp_path) as server, stage(script, pair, server) as on:
        await on.server.restart()
        for person in (on.red, on.green):
            await wait_for(
                person.page, "() => events.filter((e) => e[0] === 'connection' && e[1] === 'connected').length > 1"
            )
        await each_sees_the_other(on.red, on.green)
        await wait_for(on.red.page, "() => room.media.state === 'connected'")


async def test_a_dead_media_worker_is_replaced(script: str, pair: tuple[Browser, Browser], tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, stage(script, pair, server) as on:
        for pid in media_workers(on.server.pid):
            os.kill(pid, signal.SIGKILL)
        await wait_for(on.red.page, "() => events.some((e) => e[0] === 'media' && e[1] === 'reconnecting')")
        await each_sees_the_other(on.red, on.green)


async def test_a_cut_between_two_browsers_heals_and_streams_stay(
    script: str, pair: tuple[Browser, Browser], server: ServerProcess
) -> None:
    """No packet for 8 s; with the server's engine that is in tests/whole, for 10 s."""
    async with stage(script, pair, server, "consultation") as on:
        stream = f"seen.get('{on.red.tracks['camera']}').remote.stream.id"
        before = await on.green.page.evaluate(stream)
        processes = network_processes(await browser_pid(on.green.browser))
        assert processes
        for pid in processes:
            os.kill(pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(CUT_S)  # the length of the cut is the test, not a wait for something
        finally:
            for pid in processes:
                os.kill(pid, signal.SIGCONT)
        await each_sees_the_other(on.red, on.green)
        assert await on.green.page.evaluate(stream) == before


async def test_a_media_worker_that_stands_still_is_replaced_and_everyone_is_seen_again(
    script: str, pair: tuple[Browser, Browser], tmp_path: Path
) -> None:
    """Nothing comes by media any more; signaling goes on."""
    async with running_server(tmp_path) as server, stage(script, pair, server) as on:
        workers = media_workers(on.server.pid)
        assert workers
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        await wait_for(on.green.page, "() => room.media.state === 'reconnecting'", deadline_s=8.0 * SECOND)
        await each_sees_the_other(on.red, on.green, deadline_s=10.0 * SECOND)
        assert not set(workers) & set(media_workers(on.server.pid))


async def test_what_was_written_offline_survives_the_page(script: str, browser: Browser, tmp_path: Path) -> None:
    async with running_server(tmp_path) as server, await sdk_context(browser) as context:
        token = (await post(server, "/api/rooms", {"name": "Les marées"}))["token"]
        page = await sdk_page(context, server, script)
        await page.evaluate("(token) => enter(token)", token)
        await page.evaluate("globalThis.texte = room.document('texte'); texte.whenSynced()")
        await page.evaluate("texte.doc.getText('t').insert(0, 'avant ')")
        await wait_for(page, "() => texte.state === 'saved'")
        await server.kill()
        await wait_for(page, "() => texte.state === 'offline'")
        await page.evaluate("texte.doc.getText('t').insert(6, 'pendant')")
        assert await page.evaluate("[texte.state, texte.unsavedCount]") == ["offline", 1]
        # A page of the same origin, that never heard of the server: what is kept here is all it has.
        await wait_for(page, "async () => (await indexedDB.databases()).some(({ name }) => name.includes('/'))")
        await page.close()
        await server.start()
        page = await sdk_page(context, server, script)
        await page.evaluate("(token) => { globalThis.room = new Passerelle.Room({ token }) }", token)
        await page.evaluate("globalThis.texte = room.document('texte')")
        await page.wait_for_function("texte.doc.getText('t').toString() === 'avant pendant'", timeout=STEP_MS)
        await page.evaluate("room.connect()")
        await page.wait_for_function("texte.state === 'saved' && texte.synced", timeout=STEP_MS)
        await page.evaluate("room.leave()")
        await wait_for(page, "async () => !(await indexedDB.databases()).some(({ name }) => name.includes('/'))")


def media_workers(server_pid: int) -> list[int]:
    """The processes that forward media."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):
            if f"\nPPid:\t{server_pid}\n" in status.read_text():
                found.append(int(status.parent.name))
    return found


async def browser_pid(browser: Browser) -> int:
    """Of the browser's main process."""
    session = await browser.new_browser_cdp_session()
    info = await session.send("SystemInfo.getProcessInfo")
    (pid,) = [process["id"] for process in info["processInfo"] if process["type"] == "browser"]
    return int(pid)
