"""Which Python runs the server that is measured: its version, and how it was compiled.

A Python that was compiled without a profile of what it does (PGO), without optimization across its files (LTO), or as a
shared library, is said to be slower; whoever compares figures should know which one they are of.
"""

import json
import subprocess
import sys
from collections.abc import Sequence

_ASK = """\
import json, platform, sysconfig
try:
    with open("/proc/self/maps") as maps:
        is_shared = any("libpython" in line for line in maps)
except OSError:
    is_shared = bool(sysconfig.get_config_var("Py_ENABLE_SHARED"))
print(json.dumps([
    platform.python_implementation() + " " + platform.python_version(),
    sysconfig.get_config_var("CONFIG_ARGS") or "",
    "deb_system" in sysconfig.get_scheme_names(),
    is_shared,
]))
"""


def describe(python: str = sys.executable) -> str:
    """For the report, as "CPython 3.11.7 (without PGO, without LTO, shared)". Raises: OSError, CalledProcessError."""
    asked = subprocess.run([python, "-c", _ASK], capture_output=True, text=True, check=True)
    version, arguments, is_debians, is_shared = json.loads(asked.stdout)
    return f"{version} ({', '.join(traits(arguments, is_debians=is_debians, is_shared=is_shared))})"


def traits(arguments: str, *, is_debians: bool, is_shared: bool) -> Sequence[str]:
    """`arguments`: what its `configure` was given. Debian's gives the two to `make` instead (debian/rules: profile-opt,
    -flto), where nothing of it can be read afterwards."""
    if is_debians:
        built = ["Debian's build, with PGO and LTO"]
    else:
        built = [
            "with PGO" if "--enable-optimizations" in arguments else "without PGO",
            "with LTO" if "--with-lto" in arguments else "without LTO",
        ]
    return [*built, "shared" if is_shared else "static"]
