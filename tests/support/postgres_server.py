"""A real PostgreSQL on a free port of the loopback interface, in a folder of its own.

PostgreSQL refuses to run as root: there it runs as the account that its package made, or as nobody. Its programs are
looked for where packages put them; what stands on PATH may be a wrapper.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncpg

from server.storage.postgres_schema import migrate
from tests.support.deadlines import SECOND
from tests.support.orphans import ends_with_tests
from tests.support.ports import free_port

USER = "passerelle"
PASSWORD = "Mot2passe"
DATABASE = "postgres"
START_DEADLINE_S = 60 * SECOND
_QUICK = "-c fsync=off -c shared_buffers=16MB -c max_connections=90 -c autovacuum=off"
"""fsync: what a test loses by a crash of this machine, nobody misses; a crash of PostgreSQL loses nothing by it."""


def find_programs() -> Path:
    """The folder with initdb, pg_ctl and postgres. Raises: AssertionError."""
    folders = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name.zfill(4), reverse=True
    )
    if (config := shutil.which("pg_config")) is not None:
        asked = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False).stdout.strip()
        folders.append(Path(asked or "/nowhere"))
    for folder in folders:
        if (folder / "postgres").exists() and (folder / "initdb").exists():
            return folder
    raise AssertionError("no PostgreSQL here: make services")


def _account() -> str | None:
    """Whom to be for it; None: whoever runs the tests."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class PostgresServer:
    """Made by `running_postgres`. The same port and data over its restarts."""

    def __init__(self, folder: Path, options: str = "") -> None:
        self._programs = find_programs()
        self._folder = folder
        self._data = folder / "data"
        self._options = options
        self.port = free_port()
        self._account = _account()
        if self._account is not None:
            shutil.chown(folder, self._account)

    def url(self, schema: str | None = None) -> str:
        """`schema`: where its tables are, apart from those of other tests."""
        address = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{DATABASE}"
        return address if schema is None else f"{address}?search_path={schema}"

    def create(self) -> None:
        password_file = self._folder / "password"
        password_file.write_text(PASSWORD)
        if self._account is not None:
            shutil.chown(password_file, self._account)
        # Small segments of its log, so that a limit on the size of files can spare the log.
        self._run("initdb", "-U", USER, "--pwfile", str(password_file), "-A", "scram-sha-256", "-E", "UTF8",
                  "--locale=C", "--wal-segsize=1", "--no-sync")  # fmt: skip

    def start(self) -> None:
        options = f"-p {self.port} -k {self._folder} -c listen_addresses=127.0.0.1 {_QUICK} {self._options}"
        self._run(
            "pg_ctl", "-w", "-t", str(int(START_DEADLINE_S)), "-o", options, "-l", str(self._folder / "log"), "start"
        )
        ends_with_tests(self.processes()[0])

    def stop(self, how: str = "fast") -> None:
        """`fast`: connections are ended, what is committed is kept; `immediate`: as a crash."""
        if (self._data / "postmaster.pid").exists():
            self._run("pg_ctl", "-w", "-m", how, "stop")

    async def fresh_tables(self) -> str:
        """An address whose tables nobody else has, of the newest version."""
        url = await self.fresh_schema()
        connection = await asyncpg.connect(url)
        try:
            await migrate(connection)
        finally:
            await connection.close()
        return url

    async def fresh_schema(self) -> str:
        """As `fresh_tables`, without any table."""
        schema = f"t{secrets.token_hex(6)}"
        connection = await asyncpg.connect(self.url())
        try:
            await connection.execute(f"CREATE SCHEMA {schema}")
        finally:
            await connection.close()
        return self.url(schema)

    @property
    def log(self) -> str:
        path = self._folder / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def processes(self) -> list[int]:
        """The server's own process and all its children."""
        first = int((self._data / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
        return [first, *map(int, children)]

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """It takes connections, as the kernel does for it, and answers nothing."""
        stopped = self.processes()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def full(self) -> Iterator[None]:
        """No file may grow beyond one MiB, and the one table of updates that there is has that already."""
        schema = self.query("SELECT schemaname FROM pg_tables WHERE tablename = 'updates'")
        filling = "SELECT -1, n, decode(repeat(md5(n::text), 60), 'hex') FROM generate_series(1, 1200) n"
        self.query(f"INSERT INTO {schema}.updates {filling}")
        with self.no_file_may_grow_beyond(1 << 20):
            yield

    @contextmanager
    def no_file_may_grow_beyond(self, size_bytes: int) -> Iterator[None]:
        """As on a full disk: tables cannot grow. Its log, in files of 1 MiB, can."""
        self._limit_files(str(size_bytes))
        try:
            yield
        finally:
            self._limit_files("unlimited")

    def _limit_files(self, soft_limit: str) -> None:
        # As the account itself: even root may not set another's limits everywhere. The first process before the
        # others: what it makes from then on inherits the limit; some of the others end meanwhile.
        first, *_children = self.processes()
        self._as_account(["prlimit", f"--pid={first}", f"--fsize={soft_limit}:"])
        _first, *children = self.processes()
        each = f"prlimit --pid=$pid --fsize={soft_limit}: || test ! -e /proc/$pid || exit 1"
        self._as_account(["sh", "-c", f"for pid in {' '.join(map(str, children))}; do {each}; done"])

    def kill_backends(self, application: str) -> None:
        """As an administrator does, or the system when memory is short."""
        self.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE"
            f" '{application}%' AND pid <> pg_backend_pid()"
        )

    def query(self, statement: str) -> str:
        """What psql says of it: rows without decoration. Raises: AssertionError."""
        done = subprocess.run(
            [self._programs / "psql", "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url()],
            capture_output=True,
            text=True,
            check=False,
            # Also on a database that was made read-only, to mend that.
            env={"PATH": os.environ.get("PATH", ""), "PGOPTIONS": "-c default_transaction_read_only=off"},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _run(self, program: str, *arguments: str) -> None:
        self._as_account([self._programs / program, "-D", self._data, *arguments])

    def _as_account(self, command: Sequence[str | Path]) -> None:
        """Raises: AssertionError when it fails."""
        done = subprocess.run(
            command,
            # Not pipes: the server would keep them open.
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._folder,
            user=self._account,
            group=self._account and pwd.getpwnam(self._account).pw_gid,
            extra_groups=[] if self._account else None,
            env={"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "PGUSER": USER},
            check=False,
            timeout=2 * START_DEADLINE_S,
        )
        assert done.returncode == 0, f"{command[0]} ended with {done.returncode}:\n{self.log[-4_000:]}"


@contextmanager
def running_postgres(options: str = "") -> Iterator[PostgresServer]:
    """One that is ready; stopped and deleted at the end. Not in pytest's folders, which only their owner may enter."""
    folder = Path(tempfile.mkdtemp(prefix="passerelle-postgres-"))
    server = PostgresServer(folder, options)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
