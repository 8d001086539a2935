"""The image cannot be built without a Docker engine; what can be checked of it is checked."""

import os
import re
import shlex
import subprocess
import sys
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def test_everything_that_is_copied_from_the_checkout_exists() -> None:
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
        *sources, _target = shlex.split(line)
        for source in sources:
            assert (ROOT / source).exists(), source


def test_nothing_is_fetched_to_read_the_file_itself() -> None:
    """A line "syntax=" has every build ask a registry for its reader, also where the base images are at hand."""
    assert not re.search(r"^# *syntax *=", DOCKERFILE, re.MULTILINE)


def test_runs_without_root_and_checks_its_health() -> None:
    last_stage = DOCKERFILE.split("\nFROM ")[-1]
    assert re.search(r"^USER passerelle$", last_stage, re.MULTILINE)
    assert "HEALTHCHECK" in last_stage
    assert "/healthz" in last_stage


def test_its_health_is_asked_at_the_port_that_it_was_given() -> None:
    """In compose.yaml each instance has another one than the image's."""
    (found,) = re.findall(r"CMD \[\"/opt/passerelle/bin/python\", \"-c\", \"(.+)\"\]", DOCKERFILE)
    with ThreadingHTTPServer(("127.0.0.1", 0), _Healthy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        for port, is_well in ((server.server_port, True), (free_port(), False)):
            environment = {**os.environ, "PASSERELLE_PORT": str(port)}
            asked = subprocess.run([sys.executable, "-c", found], env=environment, capture_output=True, timeout=30)
            assert (asked.returncode == 0) is is_well
        server.shutdown()


class _Healthy(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/healthz" else 404)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        """Nobody reads it."""


def test_the_installed_wheel_has_the_page_and_the_command(tmp_path: Path) -> None:
    """The step `pip install .` of the image, into a folder of its own."""
    subprocess.run(
        [
            sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-build-isolation",
            "--no-deps", "--wheel-dir", str(tmp_path), str(ROOT),
        ],
        check=True,
        timeout=120,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("passerelle-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert "server/static/index.html" in names
    assert "rooms/room.py" in names
    assert "signaling/engines/sfu/worker.py" in names
    assert any(name.endswith("entry_points.txt") for name in names)
    assert not any(name.startswith(("tests/", "client_sdk/", "data/")) for name in names)
