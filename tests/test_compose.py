"""compose.yaml cannot be run without a container engine; what can be checked of it is checked."""

import asyncio
import json
import os
import pwd
import re
import shutil
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from server.cli import _parser
from server.config import SETTINGS
from tests.support.deadlines import SECOND
from tests.support.janus_server import own_address
from tests.support.media_session import eventually
from tests.support.ports import free_port
from tests.support.turn_server import make_certificate

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = (ROOT / "compose.yaml").read_text("utf-8")
RELAY = (ROOT / "deploy/coturn/turnserver.conf").read_text("utf-8")
PROXY = (ROOT / "deploy/haproxy/haproxy.cfg").read_text("utf-8")


def settings_in(text: str) -> set[str]:
    """Variables that a service is given, in capitals at the beginning of a line."""
    return set(re.findall(r"^ +([A-Z][A-Z_]+): ", text, re.MULTILINE))


def service(name: str) -> str:
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", COMPOSE, re.MULTILINE)
    assert found, name
    return found[1]


def test_everything_that_is_mounted_from_the_checkout_exists() -> None:
    mounted = re.findall(r"^ +- (\./[^:]+):", COMPOSE, re.MULTILINE)
    assert mounted
    for path in mounted:
        assert (ROOT / path).is_file(), path


def test_instances_are_given_settings_that_exist_and_listen_where_the_proxy_looks() -> None:
    shared = COMPOSE[COMPOSE.index("x-settings:") : COMPOSE.index("services:")]
    known = {setting.name for setting in SETTINGS}
    ports = {}
    for name in ("i1", "i2"):
        assert settings_in(shared) | settings_in(service(name)) <= known
        ports[name] = re.search(r"PASSERELLE_PORT: (\d+)", service(name))[1]  # type: ignore[index]
    expected = dict(re.findall(r"server (i\d) \"\$\{PASSERELLE_INSTANCE_\d-127\.0\.0\.1:(\d+)\}", PROXY))
    assert ports == expected
    media = [int(re.search(r"MEDIA_PORT: (\d+)", service(name))[1]) for name in ("i1", "i2")]  # type: ignore[index]
    workers = int(re.search(r"MEDIA_WORKERS: (\d+)", shared)[1])  # type: ignore[index]
    assert abs(media[0] - media[1]) >= workers, "each worker has a port of its own"


def test_the_proxy_is_given_variables_that_its_configuration_reads() -> None:
    assert settings_in(service("proxy"))
    for name in settings_in(service("proxy")):
        assert f"${{{name}-" in PROXY, name
    (certificate,) = re.findall(r"\}:(/etc/haproxy/[^:]+):ro", service("proxy"))
    assert f"${{PASSERELLE_CERTIFICATE-{certificate}}}" in PROXY


def test_services_that_wait_for_others_wait_for_ones_that_there_are_and_say_when_they_are_well() -> None:
    names = set(
        re.findall(r"^  (\w+):$", COMPOSE[COMPOSE.index("services:") : COMPOSE.index("\nvolumes:")], re.MULTILINE)
    )
    assert names == {"proxy", "i1", "i2", "migrate", "redis", "database", "relay"}
    waited_for = re.findall(r"^ +(\w+): \{condition: (\w+)\}", COMPOSE, re.MULTILINE)
    assert waited_for
    for name, condition in waited_for:
        assert name in names
        assert ("healthcheck:" in service(name)) is (condition == "service_healthy")


def test_the_database_is_well_when_it_answers_where_instances_ask_it_however_long_it_is_made() -> None:
    """While the image makes a database, a server of its own answers on the Unix socket, and is stopped again."""
    (test,) = re.findall(r"test: \[CMD, pg_isready, (.*)\]", service("database"))
    assert "--host, 127.0.0.1" in test
    for name in ("database", "redis"):
        assert "start_period:" in service(name), "a slow disk at the first start would be called ill"


def test_no_log_grows_for_ever() -> None:
    shared = COMPOSE[COMPOSE.index("x-instance:") : COMPOSE.index("services:")]
    assert "max-size:" in COMPOSE
    assert "logging: *log" in shared
    for name in ("proxy", "migrate", "redis", "database", "relay"):
        assert "logging: *log" in service(name), name
    for name in ("i1", "i2"):
        assert "<<: *instance" in service(name)


def test_what_instances_are_told_of_the_others_is_where_those_are() -> None:
    shared = COMPOSE[COMPOSE.index("x-settings:") : COMPOSE.index("services:")]
    for name, setting in (("redis", "REDIS_URL"), ("database", "DATABASE_URL")):
        (port,) = re.findall(r'ports: \["127\.0\.0\.1:(\d+):\d+"\]', service(name))
        assert re.search(rf"{setting}: .*127\.0\.0\.1:{port}\b", shared)
    database = dict(re.findall(r"POSTGRES_(\w+): (\S+)", service("database")))
    assert f"postgresql://{database['USER']}:" in shared
    assert re.search(rf"5432/{database['DB']}$", shared, re.MULTILINE)
    relay = dict(re.findall(r"^((?:tls-)?listening-port)=(\d+)$", RELAY, re.MULTILINE))
    (urls,) = re.findall(r"TURN_URLS: (.*)", shared)
    ports = [re.sub(r".*:(\d+).*", r"\1", url) for url in urls.split(",")]
    assert ports == [relay["listening-port"], relay["listening-port"], relay["tls-listening-port"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="as in a container, it is started by root")
async def test_the_relay_takes_the_port_of_the_page_at_its_own_address_and_reads_a_key_that_is_roots(
    tmp_path: Path,
) -> None:
    """With the proxy as it is, which takes that port of every address."""
    assert "user: root" in service("relay")
    assert "user: root" in service("proxy")
    (command,) = re.findall(r"^    command: (\[.*\])$", service("relay"), re.MULTILINE)
    certificate, key = make_certificate(tmp_path)
    key.chmod(0o600)
    pem = tmp_path / "proxy.pem"
    pem.write_bytes(certificate.read_bytes() + key.read_bytes())
    folder = tmp_path / "relay"
    folder.mkdir()
    relays, relays_key = make_certificate(folder)
    relays_key.chmod(0o600)
    port, plain = free_port(), free_port()
    changed = {
        "listening-ip": own_address(), "relay-ip": own_address(), "listening-port": plain, "tls-listening-port": port,
        "cert": relays, "pkey": relays_key,
    }  # fmt: skip
    text = RELAY
    for name, value in changed.items():
        text = re.sub(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
    configuration = folder / "turnserver.conf"
    configuration.write_text(text.replace("\nsyslog\n", "\n"), "utf-8")
    environment = {
        **os.environ, "PASSERELLE_PROXY_LOG": "stdout", "PASSERELLE_PROXY_SOCKET": str(tmp_path / "admin.sock"),
        "PASSERELLE_PROXY_HTTP": f"127.0.0.1:{free_port()}", "PASSERELLE_PROXY_HTTPS": f":{port}",
        "PASSERELLE_PROXY_CONNECTIONS": "500", "PASSERELLE_CERTIFICATE": str(pem),
    }  # fmt: skip
    own = (f"--pidfile={folder / 'pid'}", f"--userdb={folder / 'db'}")
    haproxy = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert haproxy, "no haproxy here: make services"
    async with (
        running(haproxy, "-db", "-f", str(ROOT / "deploy/haproxy/haproxy.cfg"), environment=environment),
        until_answered_with("127.0.0.1", port, certificate),
        running("turnserver", "-c", str(configuration), *json.loads(command), *own) as relay,
        until_answered_with(own_address(), port, relays),
    ):
        nobody = pwd.getpwnam("nobody").pw_uid
        status = Path(f"/proc/{relay.pid}/status")
        # It answers first, and gives up being root after that.
        await eventually(
            lambda: re.search(rf"^Uid:\t{nobody}\t", status.read_text(), re.MULTILINE), 5 * SECOND, "to stop being root"
        )


@asynccontextmanager
async def running(
    *command: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, process_group=0
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def until_answered_with(address: str, port: int, certificate: Path) -> AsyncIterator[None]:
    """TLS at that address is answered with that certificate. Raises: TimeoutError."""
    context = ssl.create_default_context(cafile=str(certificate))
    context.check_hostname = False
    async with asyncio.timeout(10 * SECOND):
        while True:
            try:
                _reader, writer = await asyncio.open_connection(address, port, ssl=context)
            except OSError:  # nobody yet, or the other one, whose certificate is not this one
                await asyncio.sleep(0.05)
            else:
                writer.transport.abort()
                break
    yield


def test_commands_exist_and_every_variable_is_asked_for() -> None:
    (command,) = re.findall(r"command: \[(\w+)\]", service("migrate"))
    assert _parser().parse_args([command]).command == command
    for name in set(re.findall(r"\$\{(\w+)\}", COMPOSE)):
        assert f"${{{name}:?" in COMPOSE, f"without {name} nobody would be told"
