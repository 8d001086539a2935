"""A second engine: two people meet and write in real Firefox (WebDriver BiDi, by puppeteer-core)."""

import asyncio
import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.deadlines import SECOND
from tests.support.orphans import ends_with_tests
from tests.support.server_process import ROOT, running_server

DEADLINE_S = 120 * SECOND


@pytest.mark.timeout(180)
async def test_two_people_meet_and_write_in_firefox(tmp_path: Path) -> None:
    firefox = shutil.which("firefox-esr") or shutil.which("firefox")
    node = shutil.which("node") or str(ROOT / ".venv/bin/node")
    assert firefox, "no Firefox here: make services"
    home = tmp_path / "home"
    home.mkdir()
    # Firefox pairs no loopback address, whatever its settings say: media take this machine's own
    # address here, as they do without configuration, and never leave the machine.
    async with running_server(tmp_path, {"PASSERELLE_MEDIA_ADDRESSES": ""}) as server:
        process = await asyncio.create_subprocess_exec(
            node,
            str(ROOT / "tests/browser/firefox_session.mjs"),
            str(ROOT / "client_sdk"),
            server.url,
            firefox,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # Firefox keeps its profile in the home folder, and refuses one of another user.
            env={**os.environ, "HOME": str(home)},
        )
        ends_with_tests(process.pid)
        try:
            async with asyncio.timeout(DEADLINE_S):
                output, errors = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert process.returncode == 0, errors.decode()[-2_000:]
    assert sorted(json.loads(output)["text"]) == sorted("Bonjour de Gaspé")
