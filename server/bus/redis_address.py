"""Where Redis is: what `REDIS_URL` says, parsed and checked.

    redis://[user:password@]host[:6379][/database]
    redis+sentinel://[user:password@]host[:26379],host…/service[/database]
    redis+cluster://[user:password@]host[:6379],host…

`rediss` instead of `redis` encrypts all of them (TLS). Then `?ca=…&cert=…&key=…` name files: the authority that
signed the server's certificate (without: those of the system), and a certificate to show with its key.
`?sentinel_user=…&sentinel_password=…`: what the sentinels themselves ask for. User and password percent-encoded.

Raised sentences go on behind the variable's name, French first, and never quote the address: it holds a password.
"""

import ssl
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import parse_qsl, unquote

MAX_SERVERS = 64
"""Sentinels or nodes named in one address."""
MAX_DATABASE = 9_999
"""Redis has 16 unless told otherwise."""
MAX_PORT = 65_535
REDIS_PORT = 6_379
SENTINEL_PORT = 26_379


class RedisKind(Enum):
    SINGLE = ""
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class Server:
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Credentials:
    user: str | None = None
    """None: Redis's default user."""
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """Each None: not given."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def context(self) -> ssl.SSLContext:
        """Verifies the server's certificate and name, always. Reads files: not in the event loop.
        Raises: OSError (ssl.SSLError is one)."""
        made = ssl.create_default_context(cafile=self.ca)
        if self.certificate is not None:
            made.load_cert_chain(self.certificate, self.key)
        return made


@dataclass(frozen=True, slots=True)
class RedisAddress:
    kind: RedisKind
    servers: tuple[Server, ...]
    """The one server; the sentinels; nodes of the cluster."""
    credentials: Credentials = Credentials()
    database: int = 0
    service: str = ""
    """What the sentinels call the master."""
    sentinel_credentials: Credentials = Credentials()
    tls: TlsFiles | None = None
    """None: not encrypted."""


def parse_redis_url(value: str) -> RedisAddress:
    """Raises: ValueError."""
    scheme, separator, rest = value.partition("://")
    base, _, kind_name = scheme.lower().partition("+")
    if not separator or base not in ("redis", "rediss") or kind_name not in [kind.value for kind in RedisKind]:
        raise _wrong(
            "redis://, rediss://, redis+sentinel:// ou redis+cluster://",
            "redis://, rediss://, redis+sentinel:// or redis+cluster://",
        )
    if "#" in rest or any(character.isspace() for character in rest):
        raise _wrong(
            "ni espace ni « # » : écrivez-les %20 et %23", "neither a space nor a “#”: write them as %20 and %23"
        )
    kind = RedisKind(kind_name)
    before_query, _, query = rest.partition("?")
    authority, _, path = before_query.partition("/")
    user_part, _, servers = authority.rpartition("@")
    service, database = _read_path(kind, path)
    options = _read_options(query, kind, is_encrypted=base == "rediss")
    return RedisAddress(
        kind=kind,
        servers=_read_servers(servers, kind),
        credentials=_read_credentials(user_part),
        database=database,
        service=service,
        sentinel_credentials=Credentials(options.get("sentinel_user"), options.get("sentinel_password")),
        tls=_read_tls(options) if base == "rediss" else None,
    )


def _wrong(french: str, english: str) -> ValueError:
    return ValueError(f"{french} / {english}")


def _read_credentials(text: str) -> Credentials:
    user, _, password = text.partition(":")
    if user and not password:
        raise _wrong(
            "un mot de passe suit un deux-points : redis://:secret@serveur", "a password follows a colon: :secret@host"
        )
    return Credentials(unquote(user) or None, unquote(password) or None)


def _read_servers(text: str, kind: RedisKind) -> tuple[Server, ...]:
    usual_port = SENTINEL_PORT if kind is RedisKind.SENTINEL else REDIS_PORT
    names = text.split(",")
    if kind is RedisKind.SINGLE and len(names) > 1:
        raise _wrong(
            "un seul serveur ; plusieurs avec redis+sentinel:// ou redis+cluster://",
            "one server; several with redis+sentinel:// or redis+cluster://",
        )
    if len(names) > MAX_SERVERS:
        raise _wrong(f"au plus {MAX_SERVERS} serveurs", f"at most {MAX_SERVERS} servers")
    return tuple(_read_server(name, usual_port) for name in names)


def _read_server(text: str, usual_port: int) -> Server:
    if text.startswith("["):  # an IPv6 address
        host, closed, after = text[1:].partition("]")
        is_whole = bool(closed) and after[:1] in ("", ":")
        port = after[1:]
    else:
        host, _, port = text.partition(":")
        is_whole = True
    if not host or not is_whole or "/" in host:
        raise _wrong("chaque serveur comme hôte:port", "each server as host:port")
    if not port:
        return Server(host, usual_port)
    if not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) <= MAX_PORT:
        raise _wrong(f"un port de 1 à {MAX_PORT}", f"a port from 1 to {MAX_PORT}")
    return Server(host, int(port))


def _read_path(kind: RedisKind, path: str) -> tuple[str, int]:
    """The service and the database."""
    service = ""
    if kind is RedisKind.SENTINEL:
        service, _, path = path.partition("/")
        if not service:
            raise _wrong(
                "le nom du service derrière les sentinelles : …/nom", "the service's name behind the sentinels"
            )
    if path in ("", "/"):
        return unquote(service), 0
    if kind is RedisKind.CLUSTER:
        raise _wrong("un cluster n'a pas de numéro de base", "a cluster has no database number")
    if not path.isascii() or not path.isdigit() or len(path) > 4:
        raise _wrong(f"un numéro de base de 0 à {MAX_DATABASE}", f"a database number from 0 to {MAX_DATABASE}")
    return unquote(service), int(path)


def _read_options(query: str, kind: RedisKind, *, is_encrypted: bool) -> dict[str, str]:
    allowed = {"ca", "cert", "key"} if is_encrypted else set()
    if kind is RedisKind.SENTINEL:
        allowed |= {"sentinel_user", "sentinel_password"}
    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if len(pairs) != len(options) or not options.keys() <= allowed or not all(options.values()):
        known = ", ".join(sorted(allowed)) or "—"
        raise _wrong(f"options derrière « ? » : {known}, une fois chacune", f"options behind “?”: {known}, once each")
    return options


def _read_tls(options: dict[str, str]) -> TlsFiles:
    for name in ("ca", "cert", "key"):
        if name in options and not Path(options[name]).is_file():
            raise _wrong(f"le fichier de « {name} » n'existe pas", f"the file of “{name}” does not exist")
    if "key" in options and "cert" not in options:
        raise _wrong("« key » accompagne « cert »", "“key” goes with “cert”")
    return TlsFiles(options.get("ca"), options.get("cert"), options.get("key"))
