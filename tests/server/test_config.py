"""Settings: read from the environment, refused with the variable's name, secrets never shown."""

import dataclasses
import re
from pathlib import Path

import pytest

from server import configuration_page
from server.config import (
    MAX_SECRET_BYTES,
    SETTINGS,
    ConfigurationError,
    Settings,
    describe,
    is_loopback,
    load_settings,
    unknown_variables,
)
from server.setting_values import EXAMPLE_SECRET

KEY = "une-cle-assez-longue-0123"


def test_nothing_needs_to_be_set() -> None:
    settings = load_settings({})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.data, settings.durability) == (
        "127.0.0.1",
        8080,
        Path("data"),
        "process",
    )
    assert settings.listens_on_loopback


def test_every_variable_is_read() -> None:
    settings = load_settings(
        {
            "PASSERELLE_HOST": "0.0.0.0",
            "PASSERELLE_PORT": "0",
            "PASSERELLE_DATA": "/var/lib/passerelle",
            "PASSERELLE_API_KEY": KEY,
            "PASSERELLE_PUBLIC_URL": "https://passerelle.example.org/",
            "PASSERELLE_ALLOWED_ORIGINS": "https://a.example.org, https://b.example.org:8443",
            "PASSERELLE_TRUSTED_PROXIES": "10.0.0.0/8,::1",
            "PASSERELLE_DURABILITY": "power",
            "PASSERELLE_MEDIA_WORKERS": "2",
            "PASSERELLE_MEDIA_PORT": "3478",
            "PASSERELLE_MEDIA_ADDRESSES": "127.0.0.1, ::1",
            "TURN_URLS": "turn:turn.example.org:3478?transport=udp,stun:stun.example.org",
            "TURN_SECRET": "partage",
            "PASSERELLE_SHUTDOWN_S": "2.5",
            "PASSERELLE_LOG_LEVEL": "DEBUG",
            "PASSERELLE_LOG_FORMAT": "json",
        }
    )
    assert settings == dataclasses.replace(
        Settings(),
        host="0.0.0.0",
        port=0,
        data=Path("/var/lib/passerelle"),
        api_key=KEY,
        public_url="https://passerelle.example.org",
        allowed_origins=("https://a.example.org", "https://b.example.org:8443"),
        trusted_proxies=settings.trusted_proxies,
        durability="power",
        media_workers=2,
        media_port=3478,
        media_addresses=("127.0.0.1", "::1"),
        turn_urls=("turn:turn.example.org:3478?transport=udp", "stun:stun.example.org"),
        turn_secret="partage",
        shutdown_s=2.5,
        log_level="debug",
        log_format="json",
    )
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "::1/128"]
    assert not settings.listens_on_loopback


def test_an_empty_variable_counts_as_absent() -> None:
    assert load_settings({setting.name: "  " for setting in SETTINGS}) == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PASSERELLE_HOST", "school"),
        ("PASSERELLE_HOST", "127.0.0.1:8080"),
        ("PASSERELLE_PORT", "http"),
        ("PASSERELLE_PORT", "65536"),
        ("PASSERELLE_PORT", "-1"),
        ("PASSERELLE_PORT", "٨٠"),
        ("PASSERELLE_API_KEY", "court"),
        ("PASSERELLE_API_KEY", "une clé avec des espaces"),
        ("PASSERELLE_PUBLIC_URL", "passerelle.example.org"),
        ("PASSERELLE_PUBLIC_URL", "ftp://passerelle.example.org"),
        ("PASSERELLE_PUBLIC_URL", "https://user:secret@passerelle.example.org"),
        ("PASSERELLE_PUBLIC_URL", "https://passerelle.example.org:port"),
        ("PASSERELLE_PUBLIC_URL", "https://[::1"),
        ("PASSERELLE_PUBLIC_URL", "https://ecole.example.org/passerelle"),
        ("PASSERELLE_ALLOWED_ORIGINS", "*"),
        ("PASSERELLE_ALLOWED_ORIGINS", "https://a.example.org/page"),
        ("PASSERELLE_TRUSTED_PROXIES", "proxy.example.org"),
        ("PASSERELLE_DURABILITY", "forever"),
        ("PASSERELLE_MEDIA_WORKERS", "0"),
        ("PASSERELLE_MEDIA_WORKERS", "65"),
        ("PASSERELLE_MEDIA_ADDRESSES", "0.0.0.0"),
        ("PASSERELLE_MEDIA_PORT", "65536"),
        ("PASSERELLE_MEDIA_ADDRESSES", "eth0"),
        ("PASSERELLE_MEDIA_ADDRESSES", ",".join(["127.0.0.1"] * 100)),
        ("TURN_URLS", "https://turn.example.org"),
        ("TURN_SECRET", "change-me"),
        ("JANUS_TOKEN_SECRET", "change-me"),
        ("JANUS_ADMIN_KEY", "change-me"),
        ("JANUS_URLS", "https://janus.example.org"),
        ("JANUS_URLS", "wss://somebody:secret@janus.example.org"),
        ("JANUS_URLS", "wss://janus.example.org?apisecret=x"),
        ("PASSERELLE_SHUTDOWN_S", "soon"),
        ("PASSERELLE_SHUTDOWN_S", "nan"),
        ("PASSERELLE_SHUTDOWN_S", "1e9"),
        ("PASSERELLE_LOG_LEVEL", "loud"),
        ("PASSERELLE_LOG_FORMAT", "xml"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_variable(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({name: value})
    assert [problem.variable for problem in refused.value.problems] == [name]
    assert name in str(refused.value)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"PASSERELLE_PORT": "x", "PASSERELLE_DURABILITY": "x", "PASSERELLE_HOST": "::1"})
    assert {problem.variable for problem in refused.value.problems} == {"PASSERELLE_PORT", "PASSERELLE_DURABILITY"}


def test_all_that_is_missing_beside_what_is_given_is_named_at_once() -> None:
    given = {"TURN_URLS": "turn:turn.example.org", "REDIS_URL": "redis://localhost", "JANUS_URLS": "ws://10.0.0.5:8188"}
    with pytest.raises(ConfigurationError) as refused:
        load_settings(given)
    missing = {problem.variable for problem in refused.value.problems}
    assert missing == {"TURN_SECRET", "DATABASE_URL", "JANUS_TOKEN_SECRET"}
    filled = {"TURN_SECRET": "s", "DATABASE_URL": "postgresql://localhost/passerelle", "JANUS_TOKEN_SECRET": "s"}
    assert load_settings({**given, **filled}).janus_urls


def test_what_is_given_and_wrong_is_not_called_missing_too() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"TURN_URLS": "turn:turn.example.org", "TURN_SECRET": EXAMPLE_SECRET})
    (problem,) = refused.value.problems
    assert problem.variable == "TURN_SECRET"
    assert "TURN_URLS" not in problem.sentence


def test_the_secret_of_the_example_files_is_the_one_that_is_refused() -> None:
    for path in ("coturn/turnserver.conf", "janus/janus.jcfg", "janus/janus.plugin.videoroom.jcfg"):
        text = (Path(__file__).parents[2] / "deploy" / path).read_text("utf-8")
        assert re.search(rf"(secret|admin_key) ?= ?\"?{EXAMPLE_SECRET}\"?$", text, re.MULTILINE), path


def test_several_instances_need_a_database_that_they_share() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"REDIS_URL": "redis://localhost"})
    (problem,) = refused.value.problems
    assert problem.variable == "DATABASE_URL"
    shared = {"REDIS_URL": "redis://localhost", "DATABASE_URL": "postgresql://localhost/passerelle"}
    assert load_settings(shared).redis_url == "redis://localhost"


def test_a_wrong_redis_address_is_refused_for_what_is_wrong_with_it() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"REDIS_URL": "http://:canari@localhost"})
    (problem,) = refused.value.problems
    assert "rediss://" in problem.sentence
    assert "canari" not in problem.sentence


def test_a_relay_needs_its_secret() -> None:
    with pytest.raises(ConfigurationError, match="TURN_SECRET"):
        load_settings({"TURN_URLS": "turn:turn.example.org"})
    assert load_settings({"TURN_URLS": "stun:stun.example.org"}).turn_urls == ("stun:stun.example.org",)


def test_gateways_need_their_secret_and_are_named_once() -> None:
    with pytest.raises(ConfigurationError, match="JANUS_TOKEN_SECRET"):
        load_settings({"JANUS_URLS": "wss://janus.example.org:8989"})
    given = {"JANUS_URLS": "ws://10.0.0.5:8188, wss://janus.example.org", "JANUS_TOKEN_SECRET": "s"}
    assert load_settings(given).janus_urls == ("ws://10.0.0.5:8188", "wss://janus.example.org")
    with pytest.raises(ConfigurationError, match="JANUS_URLS"):
        load_settings({**given, "JANUS_URLS": "ws://10.0.0.5:8188,ws://10.0.0.5:8188/"})


def test_every_media_process_needs_a_port() -> None:
    with pytest.raises(ConfigurationError, match="PASSERELLE_MEDIA_PORT"):
        load_settings({"PASSERELLE_MEDIA_PORT": "65535", "PASSERELLE_MEDIA_WORKERS": "2"})
    assert load_settings({"PASSERELLE_MEDIA_PORT": "65534", "PASSERELLE_MEDIA_WORKERS": "2"}).media_port == 65_534


# --- secrets -------------------------------------------------------------------------------------


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    assert load_settings({"PASSERELLE_API_KEY_FILE": str(path)}).api_key == KEY


def test_a_secret_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY)
    with pytest.raises(ConfigurationError, match="PASSERELLE_API_KEY_FILE"):
        load_settings({"PASSERELLE_API_KEY_FILE": str(path), "PASSERELLE_API_KEY": KEY})


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe", b"x" * (MAX_SECRET_BYTES + 1), b"court"])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match="PASSERELLE_API_KEY"):
        load_settings({"PASSERELLE_API_KEY_FILE": str(path)})


def test_secrets_are_never_shown() -> None:
    canary = "canari-0123456789abcdef"
    secrets = {setting.attribute: canary for setting in SETTINGS if setting.secret}
    settings = dataclasses.replace(Settings(), **secrets)
    assert set(secrets) == {
        "api_key",
        "turn_secret",
        "redis_url",
        "database_url",
        "janus_token_secret",
        "janus_admin_key",
    }
    assert canary not in repr(settings)
    assert canary not in str(describe(settings))
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"REDIS_URL": f"redis://:{canary}@localhost", "PASSERELLE_API_KEY": f"{canary} é"})
    assert canary not in str(refused.value)
    assert canary not in repr(refused.value.problems)


# --- the table -------------------------------------------------------------------------------------


def test_every_setting_is_in_the_table_once() -> None:
    assert sorted(setting.attribute for setting in SETTINGS) == sorted(
        entry.name for entry in dataclasses.fields(Settings)
    )
    assert len({setting.name for setting in SETTINGS}) == len(SETTINGS)


def test_unknown_variables_are_found() -> None:
    environ = {"PASSERELLE_PROT": "1", "PASSERELLE_PORT": "1", "PASSERELLE_TEST_X": "1", "PATH": "", "TURN_URLS": ""}
    assert unknown_variables(environ) == ["PASSERELLE_PROT"]
    assert unknown_variables({"PASSERELLE_API_KEY_FILE": "", "PASSERELLE_PORT_FILE": ""}) == ["PASSERELLE_PORT_FILE"]


def test_the_page_of_settings_is_up_to_date() -> None:
    """Else: python -m server.configuration_page"""
    assert configuration_page.PAGE.read_text("utf-8") == configuration_page.render()


def test_the_page_names_every_variable_in_both_languages() -> None:
    page = configuration_page.render()
    for setting in SETTINGS:
        assert page.count(f"| `{setting.name}` |") == 2


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost", "LOCALHOST", "::ffff:127.0.0.1"]
)
def test_loopback_is_recognised(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "localhost.example.org", "", "127.0.0.1.nip.io", "0"])
def test_what_is_not_loopback_is_not_taken_for_it(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://passerelle:secret@bd.example.org:5432/passerelle?sslmode=verify-full",
        "postgres://localhost/passerelle",
        "postgresql://u:p@un:5432,deux:5432/base?target_session_attrs=read-write",
        "postgresql:///base?host=/run/postgresql",
    ],
)
def test_an_address_of_postgresql_is_taken_and_shown_without_its_secret(url: str) -> None:
    settings = load_settings({"DATABASE_URL": url})
    assert settings.database_url == url
    assert settings.data_place.startswith("PostgreSQL ")
    assert "secret" not in settings.data_place
    assert "secret" not in repr(settings)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://canari@localhost/base",
        "canari",
        "postgresql://canari",
        "postgresql://canari/",
        "postgresql://h:canari/b",
    ],
)
def test_what_is_no_address_of_postgresql_is_refused_unquoted(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"DATABASE_URL": url})
    assert "DATABASE_URL" in str(refused.value)
    assert "canari" not in str(refused.value)
