"""The command line: `passerelle run` (or nothing), `check-config`, `version`.

Sentences are French first, then English: an administrator of a school service centre reads them,
or a teacher on her own computer. Heavy modules are imported where they are used: `version` and
`check-config` answer at once, and a wrong setting is told before anything is loaded.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from server.config import (
    ConfigurationError,
    Settings,
    describe,
    load_settings,
    unknown_variables,
)

EXIT_OK = 0
EXIT_FAILED = 1
"""The server could not start, or died: the port is taken, the folder cannot be written."""
EXIT_CONFIGURATION = 2
"""The environment is wrong; starting again without changing it is useless."""


def main(arguments: Sequence[str] | None = None) -> int:
    """What the process's exit code is. Ends with `SystemExit` for `--help` and wrong arguments."""
    command = _parser().parse_args(arguments).command or "run"
    if command == "version":
        print(_version())
        return EXIT_OK
    try:
        settings = load_settings(os.environ)
    except ConfigurationError as error:
        _report_problems(error)
        return EXIT_CONFIGURATION
    _warn_of_unknown_variables()
    return _check_config(settings) if command == "check-config" else _run(settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="passerelle",
        description="Séances interclasses en direct / live sessions between classes.",
        epilog="Réglages par variables d'environnement / settings by environment variables: docs/configuration.md",
    )
    parser.add_argument(
        "command",
        nargs="?",
        choices=("run", "check-config", "version"),
        help="run (par défaut / by default): servir / serve; check-config: vérifier les réglages / check the settings",
    )
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
    if not os.access(folder, os.W_OK | os.X_OK):
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
    return said


def _run(settings: Settings) -> int:
    from server.process import run

    for sentence in notices(settings):
        _say(sentence)
    return run(settings)
