"""Configuration: one table of settings, read once from the environment.

`SETTINGS` is the only place that knows a variable; `load_settings`, docs/configuration.md
(`server.configuration_page`) and `passerelle check-config` all follow it. Nothing else in the
house reads the environment. A secret may also come from a file, named by the variable `…_FILE`.
"""

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from server import setting_values as values
from server.setting_values import Network

Durability = Literal["process", "power"]
LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]

MAX_SECRET_BYTES = 4_096
"""Longest content of a `…_FILE`: a key, never a whole disk given by mistake."""
MAX_MEDIA_WORKERS = 64
"""Each takes a UDP port and some 80 MB."""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one variable, in a sentence for the administrator (French, then English)."""

    variable: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.variable}: {self.sentence}"


class ConfigurationError(Exception):
    """The environment cannot be used. `problems` names every variable that is wrong, not the first."""

    code = "configuration-error"

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Settings:
    """What the administrator chose; made by `load_settings`, or in tests by keyword."""

    host: str = "127.0.0.1"
    port: int = 8080
    """0 takes any free port; the address that is printed names it."""
    data: Path = Path("data")
    """Folder of everything that must outlive the process."""
    api_key: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)
    database_url: str | None = field(default=None, repr=False)
    database_connections: int = 8
    """Most connections of this process to PostgreSQL."""
    durability: Durability = "process"
    media_workers: int | None = None
    """Processes that forward media; None: one for each core that this process may use."""
    media_addresses: tuple[str, ...] = ()
    """Addresses that media bind to and offer; empty: every address of the machine."""
    media_port: int = 0
    """UDP port of the first media worker, the next ones take the ports after it; 0: any."""
    janus_urls: tuple[str, ...] = ()
    """WebSockets of the Janus gateways that carry the rooms' media; none: this machine's workers do."""
    janus_token_secret: str | None = field(default=None, repr=False)
    janus_admin_key: str | None = field(default=None, repr=False)
    turn_urls: tuple[str, ...] = ()
    turn_secret: str | None = field(default=None, repr=False)
    public_url: str | None = None
    """Where people reach the server, without a final slash; None: what is in their request."""
    allowed_origins: tuple[str, ...] = ()
    """Origins, besides the server's own, whose pages may connect."""
    trusted_proxies: tuple[Network, ...] = ()
    """Whose X-Forwarded-For and X-Forwarded-Proto are believed."""
    shutdown_s: float = 8.0
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"

    @property
    def data_place(self) -> str:
        """Where rooms and texts are kept, as it may be shown: a folder, or a database without user and password."""
        if self.database_url is None:
            return str(self.data.absolute())
        parts = urlsplit(self.database_url)
        return f"PostgreSQL {parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def listens_on_loopback(self) -> bool:
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`: "localhost", 127.0.0.0/8, ::1 (with or without brackets)."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def usable_cores() -> int:
    """At most as many as there may be media workers."""
    return min(len(os.sched_getaffinity(0)), MAX_MEDIA_WORKERS)


# --- the table -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable: how it is called, read, and explained."""

    name: str
    attribute: str
    parse: Callable[[str], Any]
    type_fr: str
    type_en: str
    meaning_fr: str
    meaning_en: str
    secret: bool = False
    """May also be given as `NAME_FILE`; never shown."""
    default_fr: str | None = None
    """What stands in the table instead of the attribute's default, where that would say too little."""
    default_en: str | None = None


_WHOLE_MACHINE_FR = "toutes celles de la machine"
_WHOLE_MACHINE_EN = "all of the machine's"

SETTINGS: tuple[Setting, ...] = (
    Setting(
        "PASSERELLE_HOST", "host", values.host, "adresse", "address",
        "Adresse où le serveur écoute. Ailleurs que sur cette machine, créer une salle exige `PASSERELLE_API_KEY`.",
        "Address to listen on. Other than this machine's own, making a room needs `PASSERELLE_API_KEY`.",
    ),
    Setting(
        "PASSERELLE_PORT", "port", values.integer(0, values.MAX_PORT), "entier", "integer",
        "Port HTTP ; 0 en prend un libre.", "HTTP port; 0 takes a free one.",
    ),
    Setting(
        "PASSERELLE_DATA", "data", Path, "dossier", "folder",
        "Tout ce qui doit survivre : base SQLite, clé des jetons. C'est ce dossier que l'on sauvegarde. Sans objet avec"
        " `DATABASE_URL`.",
        "All that must last: the SQLite file, the key of the tokens. This folder is what to back up. Not used with"
        " `DATABASE_URL`.",
        default_fr="./data", default_en="./data",
    ),
    Setting(
        "PASSERELLE_API_KEY", "api_key", values.api_key, "secret", "secret",
        "Clé demandée pour créer une salle (`Authorization: Bearer …`). Sans elle : depuis cette machine seulement.",
        "Key asked for to make a room (`Authorization: Bearer …`). Without it, only this machine may make one.",
        secret=True,
    ),
    Setting(
        "PASSERELLE_PUBLIC_URL", "public_url",
        values.url(("http", "https"), "https://passerelle.example.org", origin_only=True), "adresse web", "web address",
        "Adresse publique, celle des liens d'invitation, quand un mandataire est devant le serveur. Sans chemin :"
        " la page est à la racine d'un nom.",
        "Public address, the one of invitation links, when a proxy stands before the server. Without a path: the"
        " page is at the root of a name.",
        default_fr="celle de la requête", default_en="that of the request",
    ),
    Setting(
        "PASSERELLE_ALLOWED_ORIGINS", "allowed_origins",
        values.list_of(values.url(("http", "https"), "https://ecole.example.org", origin_only=True)), "liste", "list",
        "Autres sites dont les pages peuvent se connecter ; le sien l'est toujours.",
        "Other sites whose pages may connect; its own always may.",
    ),
    Setting(
        "PASSERELLE_TRUSTED_PROXIES", "trusted_proxies", values.list_of(values.network), "liste", "list",
        "Réseaux des mandataires dont on croit `X-Forwarded-For` et `-Proto`. Ceux de tout autre sont ignorés.",
        "Networks of the proxies whose `X-Forwarded-For` and `-Proto` are believed. Anyone else's are ignored.",
    ),
    Setting(
        "PASSERELLE_DURABILITY", "durability", values.choice("process", "power"),
        "`process`, `power`", "`process`, `power`",
        "Ce que « enregistré » promet : survivre à l'arrêt brutal du serveur, ou aussi à une panne de courant (lent).",
        "What “saved” promises: to outlive a crash of the server, or a power cut as well (slower).",
    ),
    Setting(
        "PASSERELLE_MEDIA_WORKERS", "media_workers", values.integer(1, MAX_MEDIA_WORKERS), "entier", "integer",
        "Processus qui relaient son et image ; une salle vit dans un seul.",
        "Processes that forward sound and picture; a room lives in one of them.",
        default_fr="un par cœur", default_en="one per core",
    ),
    Setting(
        "PASSERELLE_MEDIA_ADDRESSES", "media_addresses", values.list_of(values.address), "liste", "list",
        "Adresses IP où passent son et image, proposées aux navigateurs. `127.0.0.1` seul suffit pour essayer.",
        "IP addresses that carry sound and picture, offered to browsers. `127.0.0.1` alone will do for a trial.",
        default_fr=_WHOLE_MACHINE_FR, default_en=_WHOLE_MACHINE_EN,
    ),
    Setting(
        "PASSERELLE_MEDIA_PORT", "media_port", values.integer(0, values.MAX_PORT), "entier", "integer",
        "Port UDP du premier de ces processus, les autres prennent les suivants : à ouvrir au pare-feu. 0 : libre.",
        "UDP port of the first of these processes, the others take the next ones: open them in the firewall. 0: any.",
    ),
    Setting(
        "TURN_URLS", "turn_urls", values.list_of(values.turn_url), "liste", "list",
        "Relais TURN (et STUN) pour les réseaux qui bloquent l'UDP.",
        "TURN relays (and STUN) for networks that block UDP.",
    ),
    Setting(
        "TURN_SECRET", "turn_secret", values.shared_secret, "secret", "secret",
        "Secret partagé avec le relais TURN (`static-auth-secret` de coturn) : il signe des identifiants brefs.",
        "Secret shared with the TURN relay (coturn's `static-auth-secret`): it signs short-lived credentials.",
        secret=True,
    ),
    Setting(
        "JANUS_URLS", "janus_urls", values.list_of(values.url(("ws", "wss"), "wss://janus1.example.org:8989")),
        "liste", "list",
        "Serveurs Janus (WebSocket) qui relaient son et image à la place de cette machine, sauf en consultation.",
        "Janus gateways (WebSocket) that carry sound and picture in this machine's place, consultations excepted.",
    ),
    Setting(
        "JANUS_TOKEN_SECRET", "janus_token_secret", values.shared_secret, "secret", "secret",
        "Secret partagé avec Janus (son `token_auth_secret`) : il signe chaque demande.",
        "Secret shared with Janus (its `token_auth_secret`): it signs every request.",
        secret=True,
    ),
    Setting(
        "JANUS_ADMIN_KEY", "janus_admin_key", values.shared_secret, "secret", "secret",
        "L'`admin_key` du VideoRoom de Janus, s'il en a une : elle permet d'y créer des salles.",
        "The `admin_key` of Janus's VideoRoom, if it has one: it lets us make rooms there.",
        secret=True,
    ),
    Setting(
        "PASSERELLE_SHUTDOWN_S", "shutdown_s", values.seconds(0.5, 300), "secondes", "seconds",
        "Temps laissé à l'arrêt pour enregistrer et prévenir les pages.",
        "Time left at the end to save and to tell the pages.",
    ),
    Setting(
        "PASSERELLE_LOG_LEVEL", "log_level", values.choice("debug", "info", "warning", "error"),
        "`debug`, `info`, `warning`, `error`", "`debug`, `info`, `warning`, `error`",
        "À partir de quelle gravité le journal écrit.", "From which severity the log writes.",
    ),
    Setting(
        "PASSERELLE_LOG_FORMAT", "log_format", values.choice("auto", "json", "console"),
        "`auto`, `json`, `console`", "`auto`, `json`, `console`",
        "Une ligne JSON par événement, ou une forme lisible ; `auto` : lisible dans un terminal.",
        "A JSON line for each event, or one for the eye; `auto`: for the eye in a terminal.",
    ),
    Setting(
        "REDIS_URL", "redis_url", values.redis_url, "secret", "secret",
        "Redis (7 ou plus), qui joint plusieurs instances : `redis://…`, `rediss://…`, `redis+sentinel://…` ou"
        " `redis+cluster://…`. Exige `DATABASE_URL` ; voyez [operations.md](operations.md#plusieurs-instances).",
        "Redis (7 or later), which joins several instances: `redis://…`, `rediss://…`, `redis+sentinel://…` or"
        " `redis+cluster://…`. Needs `DATABASE_URL`; see [operations.md](operations.md#plusieurs-instances).",
        secret=True,
    ),
    Setting(
        "DATABASE_URL", "database_url", values.database_url, "secret", "secret",
        "PostgreSQL (14 ou plus), au lieu d'un fichier dans `PASSERELLE_DATA` : `postgresql://…`. D'abord"
        " `passerelle migrate` ; voyez [operations.md](operations.md#postgresql).",
        "PostgreSQL (14 or later), instead of a file in `PASSERELLE_DATA`: `postgresql://…`. First"
        " `passerelle migrate`; see [operations.md](operations.md#postgresql).",
        secret=True,
    ),
    Setting(
        "PASSERELLE_DATABASE_CONNECTIONS", "database_connections", values.integer(3, 100), "entier", "integer",
        "Connexions de ce processus à PostgreSQL, au plus.", "Connections of this process to PostgreSQL, at most.",
    ),
)  # fmt: skip

# --- reading all -----------------------------------------------------------------------------------


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read every setting. An empty variable counts as absent (compose files write those).

    Reads the files that `…_FILE` variables name: call it before the event loop runs.

    Raises: ConfigurationError, naming every variable that is wrong.
    """
    read: dict[str, Any] = {}
    problems: list[Problem] = []
    for setting in SETTINGS:
        try:
            given = _given(setting, environ)
            if given is not None:
                read[setting.attribute] = setting.parse(given)
        except ValueError as error:
            problems.append(Problem(setting.name, str(error)))
            continue
    named = {problem.variable for problem in problems}
    problems.extend(problem for problem in _contradictions(read) if problem.variable not in named)
    if problems:
        raise ConfigurationError(tuple(problems))
    return Settings(**read)


def _given(setting: Setting, environ: Mapping[str, str]) -> str | None:
    value = environ.get(setting.name, "").strip()
    if not setting.secret:
        return value or None
    path = environ.get(f"{setting.name}_FILE", "").strip()
    if not path:
        return value or None
    if value:
        raise ValueError(f"donnez {setting.name} ou {setting.name}_FILE, pas les deux / give one of the two, not both")
    return _read_secret(path)


def _read_secret(path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
    except OSError as error:
        raise ValueError(f"le fichier ne peut être lu / the file cannot be read: {error.strerror}") from None
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"fichier de plus de {MAX_SECRET_BYTES} octets / file of more than {MAX_SECRET_BYTES} bytes")
    try:
        secret = content.decode("utf-8").strip()
    except UnicodeDecodeError:
        raise ValueError("le fichier n'est pas du texte / the file is not text") from None
    if not secret:
        raise ValueError("le fichier est vide / the file is empty")
    return secret


def _contradictions(read: Mapping[str, Any]) -> list[Problem]:
    found = [_of_companions(read), _of_gateways(read.get("janus_urls", ())), _of_media_ports(read)]
    return [problem for problems in found for problem in problems]


def _of_companions(read: Mapping[str, Any]) -> list[Problem]:
    """What cannot do without another setting."""
    problems = []
    if any(url.startswith("turn") for url in read.get("turn_urls", ())) and not read.get("turn_secret"):
        problems.append(Problem("TURN_SECRET", "demandé par TURN_URLS / asked for by TURN_URLS"))
    if read.get("redis_url") and not read.get("database_url"):
        sentence = (
            "demandé par REDIS_URL : plusieurs instances ne partagent pas un fichier"
            " / asked for by REDIS_URL: several instances share no file"
        )
        problems.append(Problem("DATABASE_URL", sentence))
    if read.get("janus_urls") and not read.get("janus_token_secret"):
        problems.append(Problem("JANUS_TOKEN_SECRET", "demandé par JANUS_URLS / asked for by JANUS_URLS"))
    return problems


def _of_gateways(gateways: tuple[str, ...]) -> list[Problem]:
    if len(set(gateways)) == len(gateways):
        return []
    return [Problem("JANUS_URLS", "une adresse y est deux fois / an address is there twice")]


def _of_media_ports(read: Mapping[str, Any]) -> list[Problem]:
    first_port, workers = read.get("media_port", 0), read.get("media_workers") or usable_cores()
    if not first_port or first_port + workers - 1 <= values.MAX_PORT:
        return []
    sentence = f"chaque processus prend le port suivant, au plus {values.MAX_PORT} / each process takes the next port"
    return [Problem("PASSERELLE_MEDIA_PORT", sentence)]


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Variables that look like ours and are not (a misspelling is never silently ignored).
    PASSERELLE_TEST_… belong to the tests."""
    known = {setting.name for setting in SETTINGS} | {f"{s.name}_FILE" for s in SETTINGS if s.secret}
    return sorted(
        name
        for name in environ
        if name.startswith("PASSERELLE_") and not name.startswith("PASSERELLE_TEST_") and name not in known
    )


def describe(settings: Settings) -> list[tuple[str, str]]:
    """Each variable and its value as it may be shown: secrets only say whether they are there."""
    rows = []
    for setting in SETTINGS:
        value = getattr(settings, setting.attribute)
        if setting.secret:
            shown = "(secret)" if value else "—"
        elif isinstance(value, tuple):
            shown = ", ".join(str(entry) for entry in value) or "—"
        else:
            shown = "—" if value is None else str(value)
        rows.append((setting.name, shown))
    return rows


def default_of(setting: Setting) -> Any:
    """The attribute's default in `Settings`."""
    return next(entry.default for entry in fields(Settings) if entry.name == setting.attribute)
