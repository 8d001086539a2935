#!/bin/sh
# Runs a command with a Node that is new enough for Vite 8 (20.19+, or 22.12+): the machine's own,
# else the one that PyPI packages, installed into the virtual environment at first need.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
new_enough() {
  command -v node >/dev/null 2>&1 && command -v npm >/dev/null 2>&1 && node -e '
    const [major, minor] = process.versions.node.split(".").map(Number);
    process.exit(major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19) ? 0 : 1)'
}
if ! new_enough; then
  if [ ! -f "$here/.venv/bin/.node" ]; then
    echo "No Node 20.19 or newer here: taking the one that PyPI packages." >&2
    "$here/.venv/bin/uv" pip install --quiet --python "$here/.venv/bin/python" --require-hashes -r "$here/requirements/node.txt"
    touch "$here/.venv/bin/.node"
  fi
  PATH="$here/.venv/bin:$PATH"
  export PATH
fi
exec "$@"
