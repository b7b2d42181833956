#!/bin/bash
# setup.sh demo|test installs the Debian or Ubuntu packages that make needs and that are missing. Where it may not,
# it says which they are, and those tests that need them will say so too.
set -euo pipefail

# program:package
needs=(ip:iproute2 nsenter:util-linux hostname:hostname ping:iputils-ping wg-quick:wireguard-tools)
if [ "${1:-test}" = test ]; then
	needs+=(nft:nftables resolvconf:openresolv systemd-analyze:systemd shellcheck:shellcheck git:git curl:curl jq:jq strace:strace
		gcc:gcc bc:bc flex:flex bison:bison xz:xz-utils bzip2:bzip2 perl:perl-base setpriv:util-linux buildah:buildah)
fi

PATH=$PATH:/usr/sbin:/sbin
packages=()
for need in "${needs[@]}"; do
	command -v "${need%:*}" >/dev/null || packages+=("${need#*:}")
done
if [ "${1:-test}" = test ]; then
	[ -e /usr/include/stdlib.h ] || packages+=(libc6-dev)
	compgen -G '/usr/src/linux-source-[0-9]*.tar.*' >/dev/null || packages+=(linux-source)
fi
[ ${#packages[@]} -gt 0 ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	echo "missing, and not installed because that takes root and apt-get: ${packages[*]}" >&2
	exit 0
fi

echo "installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# The newest kernel source there is: Debian 12 has it in its security archive, under its number only.
for i in "${!packages[@]}"; do
	[ "${packages[i]}" = linux-source ] || continue
	newest=$(apt-cache search --names-only '^linux-source-[0-9.]+$' | cut -d ' ' -f 1 | sort -V | tail -n 1)
	packages[i]=${newest:-linux-source}
done
# --no-remove: openresolv would take the place of a resolvconf that the machine depends on.
apt-get install -qq -y --no-install-recommends --no-remove "${packages[@]}" >/dev/null
