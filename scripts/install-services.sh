#!/bin/sh
# What the tests drive besides Python and Node: real browsers, a real TURN server, a real Redis, a real PostgreSQL,
# a real HAProxy, a real Janus gateway. "install-services.sh cluster": only what make run-cluster starts.
# As root on a machine with apt it installs what is missing; elsewhere it names it.
set -eu
missing=
need() { # a binary, the Debian package that has it
  command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
PATH="$PATH:/usr/sbin:/sbin"
need turnserver coturn
need redis-server redis-server
need haproxy haproxy
# PostgreSQL's server programs are not on PATH where Debian puts them.
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || need initdb postgresql
if [ "${1:-}" != cluster ]; then
  need chromium chromium
  need chromium-headless-shell chromium-headless-shell
  need firefox-esr firefox-esr
  need strace strace
  need ip iproute2
  need nft nftables
  need janus janus
  need espeak-ng espeak-ng
fi
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "Missing on this machine:$missing" >&2
  echo "Debian or Ubuntu: sudo apt-get install --no-install-recommends$missing" >&2
  exit 1
fi
echo "Installing:$missing"
# Debian starts a service when its package is installed; the tests start their own, so this
# policy (exit 101: not allowed) holds it back. An administrator's own policy stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' > $policy
  chmod 755 $policy
  trap 'rm -f $policy' EXIT
fi
apt-get update -qq
# shellcheck disable=SC2086 # a list of packages
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
