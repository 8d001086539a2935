"""The command line: `passerelle run` (or nothing), `check-config`, `migrate`, `export`,
`import`, `erase`, `new-token-key`, `version`.

Sentences are French first, then English: an administrator of a school service centre reads them,
or a teacher on her own computer. Heavy modules are imported where they are used: `version` and
`check-config` answer at once, and a wrong setting is told before anything is loaded.
"""

import argparse
import asyncio
import errno
import os
import socket
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from server.config import (
    ConfigurationError,
    Settings,
    describe,
    load_settings,
    unknown_variables,
)
from server.exit_codes import EXIT_CONFIGURATION, EXIT_FAILED, EXIT_OK


def main(arguments: Sequence[str] | None = None) -> int:
    """What the process's exit code is. Ends with `SystemExit` for `--help` and wrong arguments."""
    given = _parser().parse_args(arguments)
    command = given.command or "run"
    if command == "version":
        print(_version())
        return EXIT_OK
    try:
        settings = load_settings(os.environ)
    except ConfigurationError as error:
        _report_problems(error)
        return EXIT_CONFIGURATION
    _warn_of_unknown_variables()
    if command == "check-config":
        return _check_config(settings)
    return _run(settings) if command == "run" else _on_the_data(command, given, settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="passerelle",
        description="Séances interclasses en direct / live sessions between classes.",
        epilog="Réglages par variables d'environnement / settings by environment variables: docs/configuration.md",
    )
    commands = parser.add_subparsers(dest="command", metavar="command", title="commands")
    commands.add_parser("run", help="servir (par défaut) / serve (by default)")
    commands.add_parser("check-config", help="vérifier les réglages / check the settings")
    commands.add_parser("migrate", help="mettre à jour la base PostgreSQL / bring the PostgreSQL database up to date")
    for name, meaning in (
        ("export", "tout écrire dans un fichier / write everything to a file"),
        ("import", "tout reprendre d'un export, là où il n'y a rien / take an export over, where there is nothing"),
    ):
        commands.add_parser(name, help=meaning).add_argument("file", type=Path, metavar="FILE")
    commands.add_parser(
        "erase", help="effacer une salle, le serveur arrêté / erase one room, while no server runs"
    ).add_argument("room", metavar="ROOM", help="son adresse ou son identifiant / its address or its id")
    key = commands.add_parser(
        "new-token-key", help="changer la clé des jetons (PostgreSQL) / change the key of the tokens (PostgreSQL)"
    )
    key.add_argument(
        "--forget-others",
        action="store_true",
        help="les jetons d'avant ne valent plus rien / tokens of before are worth nothing",
    )
    commands.add_parser("version", help="la version / the version")
    return parser


def _version() -> str:
    try:
        return version("passerelle")
    except PackageNotFoundError:
        return "0 (dépôt / checkout)"


def _say(text: str) -> None:
    """A sentence for the administrator, beside the log."""
    print(text, file=sys.stderr, flush=True)


def _report_problems(error: ConfigurationError) -> None:
    _say("Réglages à corriger / settings to correct:")
    for problem in error.problems:
        _say(f"  {problem}")


def _warn_of_unknown_variables() -> None:
    for name in unknown_variables(os.environ):
        _say(f"{name}: variable inconnue, ignorée / unknown variable, ignored (docs/configuration.md)")


def _check_config(settings: Settings) -> int:
    for name, value in describe(settings):
        print(f"{name:<28} {value}")
    folder = settings.data if settings.data.exists() else _nearest_folder(settings)
    if settings.database_url is None and not os.access(folder, os.W_OK | os.X_OK):
        _say(f"PASSERELLE_DATA: {folder}: on ne peut y écrire / cannot be written")
        return EXIT_CONFIGURATION
    for sentence in notices(settings):
        print(sentence)
    print("Réglages corrects / settings are fine.")
    return EXIT_OK


def _nearest_folder(settings: Settings) -> str:
    """The folder that is there, in which the data folder would be made."""
    folder = settings.data.absolute().parent
    while not folder.exists():
        folder = folder.parent
    return str(folder)


def notices(settings: Settings) -> list[str]:
    """What is right but surprises: said at start and by check-config."""
    said = []
    if settings.api_key is None and not settings.listens_on_loopback:
        said.append(
            "Sans PASSERELLE_API_KEY, personne ne peut créer de salle sur ce serveur, car il écoute au-delà de sa"
            " machine. / Without PASSERELLE_API_KEY nobody can make a room here, for it listens beyond its machine."
        )
    if not settings.listens_on_loopback and (settings.public_url or "").startswith("http://"):
        said.append(
            "En http://, les navigateurs refusent caméra et micro ailleurs que sur cette machine : mettez un mandataire"
            " https devant. / Over http:// browsers refuse camera and microphone: put an https proxy in front."
        )
    if (settings.public_url or "").startswith("https://") and not settings.trusted_proxies:
        said.append(
            "Sans PASSERELLE_TRUSTED_PROXIES, tout le monde a l'adresse du mandataire : qui essaie des codes au hasard"
            " fait attendre tous les autres. / Without PASSERELLE_TRUSTED_PROXIES everybody has the proxy's address:"
            " whoever guesses codes makes all the others wait."
        )
    for secret, urls in (("TURN_SECRET", settings.turn_urls), ("JANUS_TOKEN_SECRET", settings.janus_urls)):
        if not urls and getattr(settings, secret.lower()) is not None:
            name = secret.partition("_")[0] + "_URLS"
            said.append(f"{secret} ne sert à rien sans {name}. / {secret} is of no use without {name}.")
    for address in settings.media_addresses:
        if not _is_of_this_machine(address):
            said.append(
                f"PASSERELLE_MEDIA_ADDRESSES : {address} n'est pas une adresse de cette machine ; ni son ni image n'y"
                f" passeront. / {address} is no address of this machine; neither sound nor picture will pass there."
            )
    return said


def _is_of_this_machine(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True


def _on_the_data(command: str, given: argparse.Namespace, settings: Settings) -> int:
    from rooms.ports import StoreUnavailable
    from server import data_commands
    from server.auth import KeyUnusable
    from server.process import exit_code_of, explain_failure

    commands = {
        "migrate": lambda: data_commands.migrate(settings, print),
        "export": lambda: data_commands.export_data(settings, given.file, print),
        "import": lambda: data_commands.import_data(settings, given.file, print),
        "erase": lambda: data_commands.erase(settings, given.room, print),
        "new-token-key": lambda: data_commands.new_token_key(settings, print, forget_others=given.forget_others),
    }
    try:
        return asyncio.run(commands[command]())
    except (StoreUnavailable, KeyUnusable) as error:
        _say(explain_failure(error, settings))
        return exit_code_of(error)
    except OSError as error:
        _say(f"{error.filename or settings.data_place}: {error.strerror}")
        return EXIT_FAILED


def _run(settings: Settings) -> int:
    from server.process import run

    for sentence in notices(settings):
        _say(sentence)
    return run(settings)
