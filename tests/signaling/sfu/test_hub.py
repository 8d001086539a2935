"""What a worker does for all its sessions."""

import logging
from typing import Any

import pytest

from signaling.engines import MediaGrants
from signaling.engines.sfu.hub import MediaHub
from signaling.engines.sfu.udp import UdpMux

EVERYTHING = MediaGrants(publish_audio=True, publish_video=True, publish_screen=True, subscribe=True)
WORKS = ("watch_pictures", "handle_second", "handle_tick")


async def test_a_session_that_fails_costs_no_other_anything(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[tuple[str, str]] = []
    hub = MediaHub(UdpMux(["127.0.0.1"], 0), lambda _event: None)
    for session_id in ("one", "failing", "another"):
        hub.open_session(f"room of {session_id}", session_id, "p", EVERYTHING)
        for work in WORKS:

            def do(_now: float, session_id: str = session_id, work: str = work) -> Any:
                if session_id == "failing":
                    raise ZeroDivisionError(work)
                done.append((session_id, work))

            monkeypatch.setattr(hub._known_session(session_id), work, do)
    for tick in range(10):
        hub._tick(tick, float(tick))
    hub._handle_hurry()
    assert set(done) == {(session_id, work) for session_id in ("one", "another") for work in WORKS}
    failures = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(failures) == 1, "said once, not ten times a second"
    await hub.close()
