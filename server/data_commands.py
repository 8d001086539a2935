"""Commands on the data: `migrate`, `new-token-key`, `erase`, and `export` and `import`, which move everything to
another store.

Each says in a sentence what it did and gives the exit code. Errors of the store go to the caller.
"""

import contextlib
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rooms.ports import StoreUnavailable
from server.auth import keys_in, make_key, put_keys
from server.config import Settings
from server.exit_codes import EXIT_CONFIGURATION, EXIT_FAILED, EXIT_OK
from server.storage import sqlite_archive
from server.storage.archive import ArchiveDamaged, ArchiveWriter, Record, TokenKeyRecord, read_archive

if TYPE_CHECKING:
    from server.storage.postgres import PostgresStore
    from server.storage.sqlite import SqliteStore

Say = Callable[[str], None]


async def migrate(settings: Settings, say: Say) -> int:
    """Bring the database to this program's version. Raises: StoreUnavailable."""
    if settings.database_url is None:
        say(
            "Sans DATABASE_URL il n'y a rien à faire : le fichier SQLite se met à jour au démarrage.\n"
            "Without DATABASE_URL there is nothing to do: the SQLite file is brought up to date at start."
        )
        return EXIT_OK
    from server.storage.postgres import migrate_database

    before, after = await migrate_database(settings.database_url)
    if before == after:
        say(f"{settings.data_place} : déjà à jour (version {after}) / already up to date")
    else:
        say(f"{settings.data_place} : version {before} → {after}")
    return EXIT_OK


async def new_token_key(settings: Settings, say: Say, *, forget_others: bool) -> int:
    """A new key for the tokens of all instances. Raises: StoreUnavailable."""
    if settings.database_url is None:
        say(
            "Sans DATABASE_URL la clé est un fichier ; voyez « Changer la clé des jetons » dans docs/operations.md.\n"
            "Without DATABASE_URL the key is a file; see docs/operations.md."
        )
        return EXIT_CONFIGURATION
    from server.storage.postgres import PostgresStore

    store = PostgresStore(settings.database_url)
    await store.open()
    try:
        await store.add_token_key(make_key(), forget_others=forget_others)
    finally:
        await store.close()
    say(
        "Nouvelle clé des jetons : les instances la prennent d'elles-mêmes en deux minutes.\n"
        "New key of the tokens: the instances take it by themselves within two minutes."
    )
    return EXIT_OK


async def erase(settings: Settings, room: str, say: Say) -> int:
    """Everything of one room, before its time; `room` is its id or its page's address. No server may be running: one
    that has the room in memory would write it again. Raises: StoreUnavailable."""
    room_id = urlsplit(room).path.rstrip("/").rpartition("/")[2]
    store = await _opened_alone(settings)
    try:
        erased = await store.erase_room(room_id)
    finally:
        await store.close()
    if not erased:
        say("Il n'y a pas de telle salle ; rien n'est effacé. / There is no such room; nothing is erased.")
        return EXIT_FAILED
    say(
        f"La salle est effacée avec tout ce qui en était gardé (enregistrements : {erased}). Les sauvegardes d'avant"
        " l'ont encore, et les appareils où son texte est ouvert.\n"
        f"The room is erased with all that was kept of it (records: {erased}). Backups of before still have it, and so"
        " have devices where its text is open."
    )
    return EXIT_OK


async def _opened_alone(settings: Settings) -> "SqliteStore | PostgresStore":
    """Raises: StoreUnavailable (`FolderInUse`, `DatabaseInUse`)."""
    if settings.database_url is None:
        from server.storage.sqlite import FILE_NAME, SqliteStore

        if not (settings.data / FILE_NAME).exists():
            raise StoreUnavailable(f"there is no {FILE_NAME} in {settings.data}")
        sqlite = SqliteStore(settings.data)
        await sqlite.open()
        return sqlite
    from server.storage.postgres import PostgresStore

    postgres = PostgresStore(settings.database_url, is_alone=True)
    await postgres.open()
    return postgres


async def export_data(settings: Settings, file: Path, say: Say) -> int:
    """Everything into a new file, which its owner alone may read. Raises: StoreUnavailable, KeyUnusable, OSError."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        say(f"{file} existe déjà / is there already")
        return EXIT_CONFIGURATION
    try:
        with os.fdopen(descriptor, "wb") as out:
            archive = ArchiveWriter(out, time.time())
            async with contextlib.aclosing(_all_of(settings)) as records:
                async for record in records:
                    archive.add(record)
            archive.finish()
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        os.unlink(file)  # half of it would only deceive
        raise
    say(
        f"{settings.data_place} → {file} : {archive.records} enregistrements / records\n"
        "Ce fichier contient les prénoms, les textes et la clé des jetons : gardez-le comme les données.\n"
        "This file holds names, texts and the key of the tokens: keep it as you keep the data."
    )
    return EXIT_OK


async def _all_of(settings: Settings) -> AsyncGenerator[Record, None]:
    if settings.database_url is None:
        for key in keys_in(settings.data):
            yield TokenKeyRecord(key=key)
        for record in sqlite_archive.read(settings.data):
            yield record
        return
    from server.storage.postgres import PostgresStore

    store = PostgresStore(settings.database_url)
    await store.open()
    try:
        async with contextlib.aclosing(store.read_all()) as records:
            async for record in records:
                yield record
    finally:
        await store.close()


async def import_data(settings: Settings, file: Path, say: Say) -> int:
    """Everything of an export into an empty store, or nothing.
    Raises: StoreUnavailable (`NotEmpty`), KeyUnusable, OSError."""
    try:
        with file.open("rb") as source:
            if settings.database_url is None:
                keep_keys = partial(put_keys, settings.data)
                sqlite_archive.write(settings.data, read_archive(source), keep_keys)
            else:
                await _into_postgres(settings, read_archive(source))
    except ArchiveDamaged as error:
        say(
            f"{file} n'est pas un export entier de Passerelle, rien n'en est pris : {error}\n"
            f"{file} is no whole export of Passerelle, nothing of it is taken: {error}"
        )
        return EXIT_FAILED
    say(f"{file} → {settings.data_place}")
    return EXIT_OK


async def _into_postgres(settings: Settings, records: Iterator[Record]) -> None:
    from server.storage.postgres import PostgresStore

    assert settings.database_url is not None
    # Alone: no server may write into what is not whole yet.
    store = PostgresStore(settings.database_url, is_alone=True)
    await store.open()
    try:
        await store.write_all(records)
    finally:
        await store.close()
