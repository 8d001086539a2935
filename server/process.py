"""The process around the event loop: its thread, its signals, what it says at start and end.

The loop runs in a thread with a big stack, not in the main one: pycrdt goes down recursively into
nested documents, and what crashes 8 MiB of stack (a value nested 50,000 deep) fits into this one.
Only address space is reserved; memory is taken as it is used. The main thread waits for signals.
"""

import asyncio
import errno
import faulthandler
import gc
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Protocol

import structlog

from rooms.ports import StoreUnavailable
from server.config import Settings
from server.descriptors import TOO_FEW, raise_descriptor_limit
from server.exit_codes import EXIT_FAILED, EXIT_SCHEMA
from server.logs import close_logs, configure_logs, log_loop_exception
from server.storage.errors import DatabaseInUse, ForeignDatabase, NotEmpty, WrongSchema

STACK_BYTES = 512 << 20
"""Measured: values nested 500,000 deep and XML 600,000 deep pass; a message cannot hold more."""

GARBAGE_THRESHOLDS = (20_000, 20, 50)
"""When Python looks for cycles: counted in objects made and not yet let go of. Messages that wait for the next flush
are such objects, and with the usual 700 every burst of typing set off searches, soon of the whole memory: a fifth of
the processor with 1,500 connections. Almost everything here goes when its last reference does."""

_log = structlog.get_logger(__name__)


class Serve(Protocol):
    """`server.app.serve`: serves until `stop` is set, then drains and returns; `ready` is called
    once with the address that answers."""

    def __call__(self, settings: Settings, stop: asyncio.Event, ready: Callable[[str], None]) -> Awaitable[None]: ...


def run(settings: Settings, serve: Serve | None = None) -> int:
    """Serve until SIGTERM or SIGINT; the exit code. Call it from the main thread. `serve` None: the
    whole server (`server.app`), imported in the serving thread."""
    faulthandler.enable()
    configure_logs(settings.log_level, settings.log_format)
    descriptors = raise_descriptor_limit()
    if descriptors < TOO_FEW:
        _log.warning("few_descriptors", limit=descriptors)
    server = _ServerThread(settings, serve)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, server.receive_signal)
    try:
        server.start()
        # Interrupted by signals, whose handlers Python runs here, in the main thread.
        server.join()
    finally:
        close_logs()
    return server.exit_code


class _ServerThread:
    def __init__(self, settings: Settings, serve: Serve | None) -> None:
        self._settings = settings
        self._serve = serve
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._stop_wanted = False
        self.exit_code = 0

    def start(self) -> None:
        # For this thread alone: the store's and the log's need no such stack.
        before = threading.stack_size(STACK_BYTES)
        try:
            self._thread = threading.Thread(target=self._run, name="server")
            self._thread.start()
        finally:
            threading.stack_size(before)

    def join(self) -> None:
        assert self._thread is not None
        self._thread.join()

    def receive_signal(self, number: int, frame: FrameType | None) -> None:
        """In the main thread. The first asks for an orderly end, the second ends at once."""
        if self._stop_wanted:
            _say("Arrêt immédiat. / Stopped at once.")
            # Nothing that anyone saw is lost: it was stored before it was shown.
            os._exit(128 + number)
        self._stop_wanted = True
        _say(
            "Arrêt : les textes sont enregistrés, les pages prévenues… (encore une fois pour ne pas attendre)\n"
            "Stopping: texts are saved, pages are told… (once more not to wait)"
        )
        loop, stop = self._loop, self._stop
        if loop is not None and stop is not None:
            try:
                loop.call_soon_threadsafe(stop.set)
            except RuntimeError:
                pass  # the loop has ended by itself in this very moment

    # --- in the serving thread --------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=_new_event_loop) as runner:
                runner.run(self._serve_until_stopped())
        except BaseException as error:
            # The one place where everything ends: said to the administrator, logged for the developer.
            self.exit_code = exit_code_of(error)
            sentence = explain_failure(error, self._settings)
            _log.error("server_failed", exc_info=error)
            _say(sentence)

    async def _serve_until_stopped(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log_loop_exception)
        stop = asyncio.Event()
        self._loop, self._stop = loop, stop
        # A signal may have come before there was a loop to tell.
        if self._stop_wanted:
            return
        # What is imported stays: to search it for garbage while it is being loaded was a tenth of the start.
        gc.disable()
        serve = self._serve
        if serve is None:
            from server.app import serve as serve_everything

            serve = serve_everything
        gc.collect()
        gc.freeze()  # no search need ever look at it
        gc.set_threshold(*GARBAGE_THRESHOLDS)
        gc.enable()
        _log.info("server_starting", durability=self._settings.durability)
        await serve(self._settings, stop, self._ready)
        _log.info("server_stopped")

    def _ready(self, url: str) -> None:
        _log.info("server_ready")
        sys.stdout.write(greeting(self._settings, url) + "\n")
        sys.stdout.flush()


def _new_event_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def greeting(settings: Settings, url: str) -> str:
    """What is said once the server answers: where, what is kept where, how to stop."""
    shown = settings.public_url or url
    data = settings.data_place
    return (
        f"\n  Passerelle est prête : ouvrez {shown}\n"
        f"  Salles, textes et clé des jetons sont gardés dans {data}\n"
        f"  Pour arrêter : Ctrl+C (ou SIGTERM). Rien de ce qui est « enregistré » ne se perd.\n"
        f"\n  Passerelle is ready: open {shown}\n"
        f"  Rooms, texts and the key of the tokens are kept in {data}\n"
        f"  To stop: Ctrl+C (or SIGTERM). Nothing that is “saved” gets lost.\n"
    )


def exit_code_of(error: BaseException) -> int:
    """3: the database's tables are not this version's; starting again is useless before `passerelle migrate`."""
    return EXIT_SCHEMA if isinstance(error, WrongSchema | ForeignDatabase) else EXIT_FAILED


def explain_database_failure(error: StoreUnavailable, place: str) -> str:
    """As `explain_failure`, where the data are in PostgreSQL."""
    if isinstance(error, WrongSchema) and error.is_older:
        return (
            f"{place} : les tables sont de la version {error.found or 0}, il faut {error.known}. Lancez « passerelle"
            " migrate ».\n"
            f"{place}: the tables are of version {error.found or 0}, {error.known} is needed. Run “passerelle migrate”."
        )
    if isinstance(error, WrongSchema):
        return (
            f"{place} : les tables sont d'une version plus récente ({error.found}, ce programme connaît {error.known})."
            " Mettez le programme à jour.\n"
            f"{place}: the tables are of a later version ({error.found}, this program knows {error.known})."
            " Update the program."
        )
    if isinstance(error, ForeignDatabase):
        return (
            f"{place} appartient à un autre programme ; rien n'y est écrit. Donnez une base à part.\n"
            f"{place} belongs to another program; nothing is written to it. Give a database of its own."
        )
    if isinstance(error, DatabaseInUse):
        return (
            f"{place} sert déjà à un autre processus Passerelle, et rien ne les relie (REDIS_URL) : arrêtez-le.\n"
            f"{place} is in use by another Passerelle process, and nothing joins them (REDIS_URL): stop it."
        )
    if isinstance(error, NotEmpty):
        return _not_empty(place)
    return f"{place} ne peut être lu ou écrit : {error}\n{place} cannot be read or written: {error}"


def _not_empty(place: str) -> str:
    return f"{place} n'est pas vide : un import n'y ajoute rien.\n{place} is not empty: an import adds nothing to it."


def explain_failure(error: BaseException, settings: Settings) -> str:
    """One clear sentence in each language for why the server ended."""
    from server.auth import KeyUnusable
    from server.storage.folder import FolderInUse
    from signaling.engines import EngineUnavailable

    if settings.database_url is not None and isinstance(error, StoreUnavailable):
        return explain_database_failure(error, settings.data_place)
    where = f"{settings.host}:{settings.port}"
    if isinstance(error, FolderInUse):
        return (
            f"Le dossier {settings.data} sert déjà à un autre processus Passerelle.\n"
            f"The folder {settings.data} is in use by another Passerelle process."
        )
    if isinstance(error, NotEmpty):
        return _not_empty(settings.data_place)
    if isinstance(error, StoreUnavailable):
        return (
            f"Les données de {settings.data} ne peuvent être lues ou écrites : {error}\n"
            f"The data in {settings.data} cannot be read or written: {error}"
        )
    if isinstance(error, KeyUnusable):
        return str(error)
    if isinstance(error, EngineUnavailable):
        return (
            "Son et image ne démarrent pas ; voyez PASSERELLE_MEDIA_ADDRESSES, PASSERELLE_MEDIA_PORT et le journal.\n"
            "Media cannot start; see PASSERELLE_MEDIA_ADDRESSES, PASSERELLE_MEDIA_PORT and the log."
        )
    number = getattr(error, "errno", None)
    if isinstance(error, OSError) and number == errno.EADDRINUSE:
        return (
            f"Le port est déjà pris ({where}) : arrêtez l'autre programme, ou choisissez PASSERELLE_PORT.\n"
            f"The port is taken ({where}): stop the other program, or choose PASSERELLE_PORT."
        )
    if isinstance(error, OSError) and number == errno.EADDRNOTAVAIL:
        return (
            f"Cette machine n'a pas l'adresse de PASSERELLE_HOST ({where}).\n"
            f"This machine does not have the address of PASSERELLE_HOST ({where})."
        )
    if isinstance(error, OSError) and number == errno.EACCES:
        return (
            f"Permission refusée : un port inférieur à 1024 ({where}), ou un fichier de {settings.data}.\n"
            f"Permission denied: a port below 1024 ({where}), or a file in {settings.data}."
        )
    return (
        f"Le serveur s'est arrêté sur une erreur ({type(error).__name__}) ; voyez le journal.\n"
        f"The server ended with an error ({type(error).__name__}); see the log."
    )


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
