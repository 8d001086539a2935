"""Writes docs/configuration.md from the table of settings: `python -m server.configuration_page`.

With `--check` it writes nothing and ends with 1 when the page is not up to date.
"""

import sys
from pathlib import Path

from server.config import SETTINGS, Setting, default_of

PAGE = Path(__file__).resolve().parent.parent / "docs" / "configuration.md"

_HEAD = """# Réglages / Settings

<!-- Fait par `python -m server.configuration_page` d'après server/config.py : ne pas modifier ici.
     Made by `python -m server.configuration_page` from server/config.py: do not edit here. -->

Tout se règle par des variables d'environnement ; aucune n'est nécessaire pour essayer.
`passerelle check-config` les vérifie toutes et dit lesquelles sont fausses, sans rien démarrer.
Une variable vide compte comme absente. Une variable `PASSERELLE_…` inconnue est signalée.
Un **secret** se donne aussi par un fichier : `PASSERELLE_API_KEY_FILE=/run/secrets/cle`. Dans une
liste, les valeurs sont séparées par des virgules.

"""

_ENGLISH = """
## In English

Everything is set by environment variables; none is needed for a trial. `passerelle check-config`
checks them all and names those that are wrong, without starting anything. An empty variable counts as
absent. An unknown `PASSERELLE_…` variable is pointed out. A **secret** may also come from a file:
`PASSERELLE_API_KEY_FILE=/run/secrets/key`. Values of a list are separated by commas.

"""


def render() -> str:
    """The whole page."""
    french = _table(
        ("variable", "type", "par défaut", "sens"),
        [(s.name, s.type_fr, _default(s, s.default_fr), s.meaning_fr) for s in SETTINGS],
    )
    english = _table(
        ("variable", "type", "default", "meaning"),
        [(s.name, s.type_en, _default(s, s.default_en), s.meaning_en) for s in SETTINGS],
    )
    return _HEAD + french + _ENGLISH + english


def _table(head: tuple[str, str, str, str], rows: list[tuple[str, str, str, str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "| --- | --- | --- | --- |"]
    lines += [f"| `{name}` | {kind} | {default} | {meaning} |" for name, kind, default, meaning in rows]
    return "\n".join(lines) + "\n"


def _default(setting: Setting, instead: str | None) -> str:
    if instead is not None:
        return f"`{instead}`" if instead.startswith(".") else instead
    value = default_of(setting)
    if value is None or value == ():
        return "—"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def main(arguments: list[str]) -> int:
    page = render()
    if "--check" in arguments:
        current = PAGE.read_text("utf-8") if PAGE.exists() else ""
        if current != page:
            sys.stderr.write("docs/configuration.md is not up to date: python -m server.configuration_page\n")
            return 1
        return 0
    PAGE.write_text(page, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
