"""compose.yaml cannot be run without a container engine; what can be checked of it is checked."""

import re
from pathlib import Path

from server.cli import _parser
from server.config import SETTINGS

ROOT = Path(__file__).resolve().parent.parent
COMPOSE = (ROOT / "compose.yaml").read_text("utf-8")
PROXY = (ROOT / "deploy/haproxy/haproxy.cfg").read_text("utf-8")


def settings_in(text: str) -> set[str]:
    """Variables that a service is given, in capitals at the beginning of a line."""
    return set(re.findall(r"^ +([A-Z][A-Z_]+): ", text, re.MULTILINE))


def service(name: str) -> str:
    found = re.search(rf"^  {name}:\n((?:    .*\n|\n)+)", COMPOSE, re.MULTILINE)
    assert found, name
    return found[1]


def test_everything_that_is_mounted_from_the_checkout_exists() -> None:
    mounted = re.findall(r"^ +- (\./[^:]+):", COMPOSE, re.MULTILINE)
    assert mounted
    for path in mounted:
        assert (ROOT / path).is_file(), path


def test_instances_are_given_settings_that_exist_and_listen_where_the_proxy_looks() -> None:
    shared = COMPOSE[COMPOSE.index("x-settings:") : COMPOSE.index("services:")]
    known = {setting.name for setting in SETTINGS}
    ports = {}
    for name in ("i1", "i2"):
        assert settings_in(shared) | settings_in(service(name)) <= known
        ports[name] = re.search(r"PASSERELLE_PORT: (\d+)", service(name))[1]  # type: ignore[index]
    expected = dict(re.findall(r"server (i\d) \"\$\{PASSERELLE_INSTANCE_\d-127\.0\.0\.1:(\d+)\}", PROXY))
    assert ports == expected
    media = [int(re.search(r"MEDIA_PORT: (\d+)", service(name))[1]) for name in ("i1", "i2")]  # type: ignore[index]
    workers = int(re.search(r"MEDIA_WORKERS: (\d+)", shared)[1])  # type: ignore[index]
    assert abs(media[0] - media[1]) >= workers, "each worker has a port of its own"


def test_the_proxy_is_given_variables_that_its_configuration_reads() -> None:
    assert settings_in(service("proxy"))
    for name in settings_in(service("proxy")):
        assert f"${{{name}-" in PROXY, name
    (certificate,) = re.findall(r"\}:(/etc/haproxy/[^:]+):ro", service("proxy"))
    assert f"${{PASSERELLE_CERTIFICATE-{certificate}}}" in PROXY


def test_commands_exist_and_every_variable_is_asked_for() -> None:
    (command,) = re.findall(r"command: \[(\w+)\]", service("migrate"))
    assert _parser().parse_args([command]).command == command
    for name in set(re.findall(r"\$\{(\w+)\}", COMPOSE)):
        assert f"${{{name}:?" in COMPOSE, f"without {name} nobody would be told"
