"""Commands on the data while no server of ours has them, or beside it: `migrate`, `new-token-key`.

Each says in a sentence what it did and gives the exit code. Errors of the store go to the caller.
"""

from collections.abc import Callable

from server.config import Settings
from server.exit_codes import EXIT_CONFIGURATION, EXIT_OK

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
    from server.auth import make_key
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
