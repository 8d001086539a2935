"""A real coturn on free ports of the loopback interface, with credentials by shared secret: one that relays to this
machine, for the tests of media, and one that is configured as operators are told to."""

import asyncio
import datetime
import ipaddress
import re
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.deadlines import SECOND
from tests.support.orphans import ends_with_tests
from tests.support.ports import free_port
from tests.support.server_process import ROOT

READY_DEADLINE_S = 10 * SECOND
REALM = "passerelle.test"
CONFIGURATION = ROOT / "deploy/coturn/turnserver.conf"


@dataclass(frozen=True, slots=True)
class DeployedTurnServer:
    plain: int
    """Port of TURN over UDP and TCP."""
    tls: int


@asynccontextmanager
async def running_turn_server(folder: Path, secret: str) -> AsyncIterator[int]:
    """Its port, for UDP and TCP; `folder` takes its files. It relays to this machine only for tests."""
    port = free_port()
    arguments = (
        "-n",
        "--listening-ip=127.0.0.1",
        "--relay-ip=127.0.0.1",
        f"--listening-port={port}",
        "--no-cli",
        "--no-tls",
        "--no-dtls",
        "--allow-loopback-peers",
        "--use-auth-secret",
        f"--static-auth-secret={secret}",
        f"--realm={REALM}",
        f"--pidfile={folder / 'turnserver.pid'}",
        f"--userdb={folder / 'turn.db'}",
        "--log-file=stdout",
    )
    async with _running(arguments, port):
        yield port


@asynccontextmanager
async def running_deployed_turn_server(
    folder: Path, secret: str, allowed_peer: str, **changed: str
) -> AsyncIterator[DeployedTurnServer]:
    """coturn with deploy/coturn/turnserver.conf but for its addresses, ports, secret and certificate, what is in
    `changed` (`total_quota="20"`), and the one private address that it may relay to."""
    ports = DeployedTurnServer(free_port(), free_port())
    certificate, key = make_certificate(folder)
    values = {
        "listening-ip": "127.0.0.1\nlistening-ip=::1",
        "relay-ip": "127.0.0.1\nrelay-ip=::1",
        "listening-port": str(ports.plain),
        "tls-listening-port": str(ports.tls),
        "static-auth-secret": secret,
        "cert": str(certificate),
        "pkey": str(key),
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    text = CONFIGURATION.read_text("utf-8")
    for name, value in values.items():
        text, count = re.subn(rf"^{name}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        assert count == 1, f"{name} is not once in {CONFIGURATION}"
    text = text.replace("\nsyslog\n", f"\nlog-file={folder / 'turn.log'}\n") + f"allowed-peer-ip={allowed_peer}\n"
    path = folder / "turnserver.conf"
    path.write_text(text, "utf-8")
    arguments = ("-c", str(path), f"--pidfile={folder / 'turnserver.pid'}", f"--userdb={folder / 'turn.db'}")
    async with _running(arguments, ports.plain):
        yield ports


@asynccontextmanager
async def _running(arguments: Sequence[str], port: int) -> AsyncIterator[None]:
    program = shutil.which("turnserver")
    assert program, "no coturn here: make services"
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL, process_group=0
    )
    ends_with_tests(process.pid)
    try:
        async with asyncio.timeout(READY_DEADLINE_S):
            await _until_it_listens(process, port)
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _until_it_listens(process: asyncio.subprocess.Process, port: int) -> None:
    while True:
        assert process.returncode is None, "coturn ended at once"
        try:
            _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            # It has no word for "ready": its port is asked again.
            await asyncio.sleep(0.02)
        else:
            writer.close()
            await writer.wait_closed()
            return


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A self-made certificate for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "turn.pem", folder / "turn.key"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return paths
