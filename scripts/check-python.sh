#!/bin/sh
# Says in one sentence what is missing to make the virtual environment.
python=${1:-python3}
if ! command -v "$python" >/dev/null 2>&1; then
  echo "Passerelle needs Python 3.11 or newer, and '$python' was not found. Debian: sudo apt-get install python3 python3-venv" >&2
  exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "Passerelle needs Python 3.11 or newer; '$python' is $("$python" --version 2>&1). Try: make PYTHON=python3.12 run" >&2
  exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null && exit 0
  fi
  echo "The venv module of Python is missing. Debian: sudo apt-get install python3-venv" >&2
  exit 1
fi
