"""The commands: what they print, and the code they end with."""

import asyncio
import os
import socket
import sys
import time
from pathlib import Path

import pytest

from server import cli
from server.config import SETTINGS
from tests.support.deadlines import SECOND
from tests.support.server_process import ServerProcess, running_server

ROOT = Path(__file__).resolve().parents[2]


async def passerelle(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run to its end: exit code, standard output, standard error."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "server",
        *arguments,
        cwd=ROOT,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30 * SECOND):
        out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


# --- version, check-config -------------------------------------------------------------------------


def test_version_says_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["version"]) == 0
    assert capsys.readouterr().out.strip()[0].isdigit()


def test_an_unknown_command_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["serve-me"])
    assert ended.value.code == 2


def test_check_config_shows_every_setting(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PASSERELLE_DATA", str(tmp_path / "not" / "yet"))
    monkeypatch.setenv("PASSERELLE_API_KEY", "canari-0123456789abcdef")
    assert cli.main(["check-config"]) == 0
    out = capsys.readouterr().out
    assert all(setting.name in out for setting in SETTINGS)
    assert "canari" not in out
    assert not (tmp_path / "not").exists()


def test_check_config_names_every_wrong_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSERELLE_PORT", "http")
    monkeypatch.setenv("REDIS_URL", "redis://:canari@localhost")
    assert cli.main(["check-config"]) == cli.EXIT_CONFIGURATION
    error = capsys.readouterr().err
    assert "PASSERELLE_PORT" in error
    assert "REDIS_URL" in error
    assert "canari" not in error


def test_a_misspelt_variable_is_pointed_out(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSERELLE_PROT", "80")
    assert cli.main(["check-config"]) == 0
    assert "PASSERELLE_PROT" in capsys.readouterr().err


def test_check_config_says_when_nobody_could_make_a_room(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSERELLE_HOST", "0.0.0.0")
    assert cli.main(["check-config"]) == 0
    assert "PASSERELLE_API_KEY, personne" in capsys.readouterr().out
    monkeypatch.setenv("PASSERELLE_API_KEY", "une-cle-assez-longue")
    assert cli.main(["check-config"]) == 0
    assert "personne" not in capsys.readouterr().out


async def test_a_folder_that_cannot_be_one_is_found_before_the_start(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("not a folder")
    code, _, error = await passerelle("check-config", PASSERELLE_DATA=str(file / "data"))
    assert code == cli.EXIT_CONFIGURATION
    assert "PASSERELLE_DATA" in error


async def test_a_wrong_setting_ends_the_start_at_once() -> None:
    code, out, error = await passerelle("run", PASSERELLE_DURABILITY="forever", JANUS_URLS="http://localhost:8188")
    assert code == cli.EXIT_CONFIGURATION
    assert out == ""
    assert "PASSERELLE_DURABILITY" in error
    assert "JANUS_URLS" in error


# --- run ---------------------------------------------------------------------------------------------


async def test_it_says_where_it_is_what_it_keeps_and_how_to_stop_it_and_ends_with_0(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        assert await server.terminate() == 0
        said = server.log
    assert f"ouvrez http://localhost:{server.port}" in said
    assert f"open http://localhost:{server.port}" in said
    assert str(server.data) in said
    assert "Ctrl+C" in said
    assert said.index("Passerelle est prête") < said.index("Passerelle is ready")


async def test_a_second_start_serves_within_three_seconds(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    try:
        await server.start()
        assert await server.terminate() == 0
        began = time.monotonic()
        await server.start()
        assert time.monotonic() - began < 3 * SECOND
    finally:
        await server.kill()


async def test_a_port_that_is_taken_is_said_clearly(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, out, error = await passerelle(PASSERELLE_PORT=str(port), PASSERELLE_DATA=str(tmp_path / "data"))
    assert code == cli.EXIT_FAILED
    assert out == ""
    assert f"Le port est déjà pris (127.0.0.1:{port})" in error
    assert "The port is taken" in error
    assert "Traceback" not in error


async def test_a_folder_in_use_is_said_clearly(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        code, _, error = await passerelle(PASSERELLE_PORT="0", PASSERELLE_DATA=str(server.data))
    assert code == cli.EXIT_FAILED
    assert "sert déjà à un autre processus" in error
    assert "in use by another Passerelle process" in error


async def test_a_damaged_key_is_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "token.key").write_text("not a key")
    code, _, error = await passerelle(PASSERELLE_PORT="0", PASSERELLE_DATA=str(tmp_path))
    assert code == cli.EXIT_FAILED
    assert "token.key" in error
    assert (tmp_path / "token.key").read_text() == "not a key"
