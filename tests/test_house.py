"""The house itself: import direction, lock files without addresses, one table of commands."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# Which of our packages each may import (the design's "The house"), besides itself.
ALLOWED = {
    "rooms": set(),
    "signaling": {"rooms"},
    "server": {"rooms", "signaling"},
    "client_sdk": {"passerelle_client"},
}
OURS = {"rooms", "signaling", "server", "passerelle_client"}

# A library that only one part of the house may know.
ONLY_IN = {
    "pycrdt": ("rooms/documents/", "client_sdk/"),
    "sqlite3": ("server/storage/",),
    "asyncpg": ("server/storage/",),
    "redis": ("server/bus/",),
    "aiortc": ("signaling/engines/", "client_sdk/"),
    "aioice": ("signaling/engines/", "client_sdk/"),
    "socketio": ("server/", "client_sdk/"),
    "aiohttp": ("server/", "client_sdk/", "signaling/engines/janus/"),
}


def _tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_imports_go_one_way(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in _tracked(f"{package}/*.py")
        for name in _imports(path)
        if name.split(".")[0] in OURS - ALLOWED[package] - {package}
    ]
    assert not wrong


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_a_library_is_known_in_its_room_only(library: str) -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in _tracked("server/*.py", "rooms/*.py", "signaling/*.py", "client_sdk/*.py")
        for name in _imports(path)
        if name.split(".")[0] == library and not str(path.relative_to(ROOT)).startswith(ONLY_IN[library])
    ]
    assert not wrong


def test_pycrdt_is_wrapped_in_one_file() -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in _tracked("rooms/*.py", "server/*.py", "signaling/*.py")
        for name in _imports(path)
        if name.split(".")[0] == "pycrdt"
    }
    assert users == {"rooms/documents/document.py"}


def test_no_merge_was_left_half_done() -> None:
    marked = [
        str(path.relative_to(ROOT))
        for path in _tracked("*.py", "*.md", "*.ts", "*.tsx", "*.sh", "*.txt", "*.in", "*.toml", "Makefile")
        if re.search(r"^(<<<<<<<|>>>>>>>) ", path.read_text("utf-8", "replace"), re.MULTILINE)
    ]
    assert not marked


def test_lock_files_name_no_registry() -> None:
    locks = ("requirements/*", "client_sdk/package-lock.json", "pyproject.toml", "client_sdk/.npmrc")
    for path in _tracked(*locks, "benchmarks/documents/peers/*"):
        text = path.read_text("utf-8")
        assert not re.search(r'"resolved": *"http|index-url|find-links|url *= *"http', text), path
        if path.suffix == ".txt":
            assert "//" not in text, path


def test_every_dependency_says_why_it_is_here() -> None:
    """docs/dependencies.md has a line for each package that is asked for by name."""
    documented = (ROOT / "docs/dependencies.md").read_text("utf-8")
    asked_for = {
        re.split(r"[=<>;\s]", line, maxsplit=1)[0]
        for path in (ROOT / "requirements").glob("*.in")
        for line in path.read_text("utf-8").splitlines()
        if line and not line.startswith(("#", "-"))
    }
    for manifest in _tracked(
        "client_sdk/package.json", "client_sdk/browser/package.json", "client_sdk/classroom/package.json"
    ):
        text = manifest.read_text("utf-8")
        for block in re.findall(r'"(?:dev)?[dD]ependencies": \{([^}]*)\}', text):
            asked_for |= set(re.findall(r'"([^"]+)":', block))
    asked_for = {name for name in asked_for if not name.startswith("@passerelle/")}
    missing = sorted(name for name in asked_for if f"`{name}`" not in documented)
    assert not missing


def test_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    assert "make run" in readme
    assert "make test" in readme
    assert "make test" in (ROOT / ".ci/run").read_text("utf-8")
