#!/bin/sh
# Install Debian packages of file transfer clients for the tests: install-clients.sh PACKAGE...
# Needs root. No service is started: the tests start their own on high ports, with their own configuration.
set -eu
export DEBIAN_FRONTEND=noninteractive

policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
install() { apt-get install --yes --quiet --no-install-recommends "$@"; }
install "$@" || { apt-get update --quiet && install "$@"; }
