"""The commands: what they print, and the code they end with."""

import asyncio
import os
import socket
import sys
import time
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

import pytest

from server import cli, exit_codes
from server.config import SETTINGS, Settings
from server.storage.postgres import PostgresStore
from tests.support.deadlines import SECOND
from tests.support.postgres_server import PASSWORD, PostgresServer
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
    assert cli.main(["check-config"]) == exit_codes.EXIT_CONFIGURATION
    error = capsys.readouterr().err
    assert "PASSERELLE_PORT" in error
    assert "REDIS_URL" in error
    assert "canari" not in error


def test_what_is_right_but_surprises_is_said() -> None:
    behind_a_proxy = Settings(public_url="https://passerelle.example.org")
    assert "PASSERELLE_TRUSTED_PROXIES" in " ".join(cli.notices(behind_a_proxy))
    assert not cli.notices(replace(behind_a_proxy, trusted_proxies=(ip_network("10.0.0.5/32"),)))
    for alone, url in (("turn_secret", "turn_urls"), ("janus_token_secret", "janus_urls")):
        settings = replace(Settings(), **{alone: "canari-0123456789abcdef"})
        (said,) = cli.notices(settings)
        assert alone.upper() in said
        assert url.upper() in said
        assert "canari" not in said
        assert not cli.notices(replace(settings, **{url: ("turn:turn.example.org",)}))
    assert not cli.notices(Settings())


def test_an_address_for_media_that_this_machine_has_not_is_pointed_out() -> None:
    elsewhere = "203.0.113.9"  # RFC 5737: nobody's
    assert not cli.notices(Settings(media_addresses=("127.0.0.1",)))
    (said,) = cli.notices(Settings(media_addresses=("127.0.0.1", elsewhere)))
    assert elsewhere in said
    assert "127.0.0.1" not in said


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
    assert code == exit_codes.EXIT_CONFIGURATION
    assert "PASSERELLE_DATA" in error


async def test_a_wrong_setting_ends_the_start_at_once() -> None:
    code, out, error = await passerelle("run", PASSERELLE_DURABILITY="forever", JANUS_URLS="http://localhost:8188")
    assert code == exit_codes.EXIT_CONFIGURATION
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
    assert code == exit_codes.EXIT_FAILED
    assert out == ""
    assert f"Le port est déjà pris (127.0.0.1:{port})" in error
    assert "The port is taken" in error
    assert "Traceback" not in error


async def test_a_folder_in_use_is_said_clearly(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        code, _, error = await passerelle(PASSERELLE_PORT="0", PASSERELLE_DATA=str(server.data))
    assert code == exit_codes.EXIT_FAILED
    assert "sert déjà à un autre processus" in error
    assert "in use by another Passerelle process" in error


async def test_a_damaged_key_is_said_clearly(tmp_path: Path) -> None:
    (tmp_path / "token.key").write_text("not a key")
    code, _, error = await passerelle(PASSERELLE_PORT="0", PASSERELLE_DATA=str(tmp_path))
    assert code == exit_codes.EXIT_FAILED
    assert "token.key" in error
    assert (tmp_path / "token.key").read_text() == "not a key"


# --- PostgreSQL ----------------------------------------------------------------------------------------


async def test_a_database_is_migrated_first_then_served_from(postgres: PostgresServer, tmp_path: Path) -> None:
    url = await postgres.fresh_schema()
    where = {"DATABASE_URL": url, "PASSERELLE_PORT": "0", "PASSERELLE_DATA": str(tmp_path / "data")}
    code, out, error = await passerelle(**where)
    assert (code, out) == (exit_codes.EXIT_SCHEMA, "")
    assert "Lancez « passerelle migrate »" in error
    assert "Run “passerelle migrate”" in error
    code, out, _ = await passerelle("migrate", **where)
    assert (code, "version 0 → 1" in out) == (0, True)
    code, out, _ = await passerelle("migrate", **where)
    assert (code, "déjà à jour" in out) == (0, True)
    async with running_server(tmp_path, {"DATABASE_URL": url}) as server:
        code, _, error = await passerelle(**where)
        assert code == exit_codes.EXIT_FAILED
        assert "sert déjà à un autre processus Passerelle" in error
        assert await server.terminate() == 0
        said = server.log
    assert f"PostgreSQL 127.0.0.1:{postgres.port}" in said
    assert PASSWORD not in said
    assert "Traceback" not in said
    assert not (tmp_path / "data" / "passerelle.sqlite3").exists()


async def test_a_later_databases_is_said_clearly(postgres: PostgresServer) -> None:
    url = await postgres.fresh_tables()
    postgres.query(f"UPDATE {url.rpartition('=')[2]}.passerelle SET version = 99")
    for command in ("run", "migrate"):
        code, _, error = await passerelle(command, DATABASE_URL=url, PASSERELLE_PORT="0")
        assert code == exit_codes.EXIT_SCHEMA
        assert "version plus récente (99" in error
        assert "later version (99" in error


async def test_a_database_that_is_not_there_is_said_without_its_secret() -> None:
    for command in ("run", "migrate", "new-token-key"):
        code, _, error = await passerelle(
            command, DATABASE_URL="postgresql://u:canari@127.0.0.1:1/base", PASSERELLE_PORT="0"
        )
        assert code == exit_codes.EXIT_FAILED
        assert "PostgreSQL 127.0.0.1:1/base ne peut être lu ou écrit" in error
        assert "canari" not in error


async def test_migrate_without_a_database_says_that_nothing_is_to_be_done(tmp_path: Path) -> None:
    code, out, _ = await passerelle("migrate", PASSERELLE_DATA=str(tmp_path))
    assert code == 0
    assert "nothing to do" in out
    assert list(tmp_path.iterdir()) == []


async def test_a_new_key_for_the_tokens_is_there_for_every_instance(postgres: PostgresServer, tmp_path: Path) -> None:
    url = await postgres.fresh_tables()
    store = PostgresStore(url)
    await store.open()
    ((first, _age),) = await store.share_token_key(b"f" * 32)
    code, out, _ = await passerelle("new-token-key", DATABASE_URL=url)
    assert (code, "deux minutes" in out) == (0, True)
    (new, _), (old, _) = await store.share_token_key(b"x" * 32)
    assert (old, len(new), new != old) == (first, 32, True)
    assert new.hex() not in out
    code, _, _ = await passerelle("new-token-key", "--forget-others", DATABASE_URL=url)
    ((only, _),) = await store.share_token_key(b"x" * 32)
    assert code == 0
    assert only not in (new, old)
    await store.close()
    code, out, _ = await passerelle("new-token-key", PASSERELLE_DATA=str(tmp_path))
    assert code == exit_codes.EXIT_CONFIGURATION
    assert "operations.md" in out
