"""make run-cluster: HAProxy, several instances, Redis, PostgreSQL and coturn of this machine, on 127.0.0.1.

For a look, and for trying what docs/operations.md says: everything is in a folder that goes at the end (Ctrl+C). The
tests start the same (tests/support/cluster.py). An instance that ends is started again, as systemd would.
"""

import argparse
import asyncio
import os
import secrets
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.support.cluster import Cluster, running_cluster
from tests.support.postgres_server import running_postgres
from tests.support.turn_server import running_deployed_turn_server

RESTART_S = 3.0
"""An instance that ended is started again after this: time to see what its end does."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make run-cluster", description=__doc__)
    parser.add_argument("--instances", type=int, default=2, choices=range(1, 10), metavar="1-9")
    parser.add_argument("--port", type=int, default=8080, help="of the proxy")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="passerelle-cluster-"))
    try:
        return asyncio.run(run(folder, given.instances, given.port))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def run(folder: Path, count: int, port: int) -> int:
    this, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert this is not None
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:  # a second Ctrl+C must not interrupt the tidying up
            stopping = True
            say("Arrêt… / Stopping…")
            this.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    try:
        await serve(folder, count, port)
    except asyncio.CancelledError:
        if not stopping:
            raise
    except AssertionError as error:
        say(f"{error}")
        return 1
    return 0


async def serve(folder: Path, count: int, port: int) -> None:
    key, secret = os.environ.get("PASSERELLE_API_KEY") or secrets.token_urlsafe(18), secrets.token_urlsafe(24)
    (folder / "turn").mkdir()
    say(f"Redis, PostgreSQL, coturn, {count} × Passerelle, HAProxy…")
    with running_postgres() as postgres:
        async with running_deployed_turn_server(folder / "turn", secret, "127.0.0.1") as relay:
            environment = {
                "PASSERELLE_API_KEY": key,
                "PASSERELLE_PUBLIC_URL": f"http://localhost:{port}",
                "TURN_URLS": f"turn:127.0.0.1:{relay.plain},turn:127.0.0.1:{relay.plain}?transport=tcp",
                "TURN_SECRET": secret,
            }
            async with running_cluster(
                folder, postgres, count=count, http_port=port, environment=environment
            ) as cluster:
                greet(cluster, folder, key, port)
                await keep_up(cluster)


def greet(cluster: Cluster, folder: Path, key: str, port: int) -> None:
    instances = "\n".join(
        f"    {cluster.name_of(server)}  {server.url}  pid {server.pid}" for server in cluster.instances
    )
    say(
        f"\n  Passerelle est prête : ouvrez http://localhost:{port}\n"
        f"  Clé pour ouvrir une salle : {key}\n"
        f"  Instances (kill -9, kill -TERM, kill -STOP pour voir) :\n{instances}\n"
        f"  HAProxy : echo 'show servers state' | socat - {cluster.proxy.socket}\n"
        f"  Journaux : {folder}\n"
        f"  Ctrl+C arrête tout et efface tout.\n"
        f"\n  Passerelle is ready: open http://localhost:{port} (key above); Ctrl+C stops everything, nothing stays.\n"
    )


async def keep_up(cluster: Cluster) -> None:
    """For ever."""
    while True:
        await asyncio.sleep(0.3)
        for server in cluster.instances:
            if server.has_ended:
                name = cluster.name_of(server)
                say(f"{name} s'est arrêtée ; elle revient dans {RESTART_S:g} s / {name} ended; it comes back")
                await asyncio.sleep(RESTART_S)
                await server.start()
                say(f"{name} : pid {server.pid}")


def say(text: str) -> None:
    with suppress(OSError):  # nobody reads any more
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
