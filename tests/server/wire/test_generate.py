"""What is generated from the wire types: up to date, the same each time, and true to the types."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from server.wire import generate
from server.wire.python_types import render_python
from server.wire.registry import COMMANDS, EVENTS, wire_types

ROOT = Path(__file__).resolve().parents[3]


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server.wire.generate", *arguments],
        cwd=ROOT, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_generated_files_are_up_to_date() -> None:
    done = run("--check")
    assert done.returncode == 0, done.stderr


def test_stale_file_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "protocol.schema.json"
    stale.write_text("{}", "utf-8")
    monkeypatch.setattr(generate, "SCHEMA", stale)
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "TYPESCRIPT", tmp_path / "protocol.gen.ts")
    monkeypatch.setattr(generate, "PYTHON", tmp_path / "protocol.py")
    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    assert generate.main() == 1
    assert stale.read_text("utf-8") == "{}"
    assert "protocol.schema.json is not up to date" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["generate"])
    assert generate.main() == 0
    assert "RoomView" in json.loads(stale.read_text("utf-8"))["definitions"]
    monkeypatch.setattr(sys, "argv", ["generate", "--check"])
    assert generate.main() == 0


def test_rendering_is_deterministic() -> None:
    schema = generate.build_schema()
    assert generate.render_schema(schema) == generate.render_schema(generate.build_schema())
    assert render_python(wire_types()) == render_python(wire_types())
    assert list(schema["definitions"]) == sorted(schema["definitions"])


def test_python_types_read_what_the_server_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "generated_protocol.py").write_text(render_python(wire_types()), "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("generated_protocol")
    message = {
        "seq": 3, "prev": 2, "of_a_newer_server": True,
        "event": {"type": "chat_sent", "line": {
            "id": "l", "participant_id": "p", "name": "Léa", "text": "é", "sent_at": 1.5, "more": 1,
        }},
    }  # fmt: skip
    read = msgspec.convert(message, module.RoomEventMessage)
    assert read.event.line.name == "Léa"
    answer = msgspec.convert({"session_id": "a", "pc": "peer", "negotiation": 1, "from": "b",
                              "description": {"type": "offer", "sdp": "v=0"}}, module.ServerDescription)  # fmt: skip
    assert answer.from_ == "b"


def test_typescript_has_a_type_for_each_message() -> None:
    text = (ROOT / "client_sdk/browser/src/protocol.gen.ts").read_text("utf-8")
    for kind in wire_types():
        assert re.search(rf"export (interface|type) {kind.__name__}\b", text), kind.__name__


def test_names_of_types_are_one_each() -> None:
    named: dict[str, type] = {}
    for kind in [
        *(command.payload for command in COMMANDS.values()),
        *(command.answer for command in COMMANDS.values()),
        *EVENTS.values(),
    ]:
        assert named.setdefault(kind.__name__, kind) is kind


def test_what_clients_send_forbids_unknown_fields() -> None:
    for name, command in COMMANDS.items():
        assert command.payload.__struct_config__.forbid_unknown_fields, name
