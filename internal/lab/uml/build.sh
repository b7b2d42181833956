#!/bin/bash
# build.sh prints the path of a User-mode Linux kernel with WireGuard, and builds it first where there is none yet:
# from the newest linux-source package in /usr/src, 5 minutes on two cores, then kept outside the checkout in
# ${XDG_CACHE_HOME:-~/.cache}/wg-kube. Needs gcc make bc flex bison xz-utils; not root.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
tarball=$(find -L /usr/src -maxdepth 1 -name 'linux-source-[0-9]*.tar.*' 2>/dev/null | sort -V | tail -n 1)
if [ -z "$tarball" ]; then
	echo "uml: no kernel source in /usr/src: install linux-source-6.12 or newer" >&2
	exit 1
fi
source=$(basename "${tarball%.tar.*}")
version=$(dpkg-query --show --showformat='${Version}' "$source" 2>/dev/null || stat -L -c %s-%Y "$tarball")
hash=$({ echo "$source $version"; cat "$here/config" "$here/build.sh"; } | sha256sum | cut -c 1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/wg-kube
kernel=$cache/uml-$hash/linux

if [ ! -x "$kernel" ]; then
	mkdir -p "$cache"
	exec 9>"$cache/uml.lock"
	flock 9 # one builds, the others wait for it
fi
if [ ! -x "$kernel" ]; then
	echo "uml: building $kernel from $tarball" >&2
	work=$(mktemp -d "$cache/.uml-XXXXXX")
	trap 'rm -rf "$work"' EXIT
	trap 'exit 130' INT TERM HUP
	mkdir "$work/source" "$work/build" "$work/uml"
	tar -x -f "$tarball" -C "$work/source" --strip-components=1
	# A CPU with AMX hands out 11 KB of registers. A source that reserves less for them dies in ptrace, errno 14.
	sed -E -i 's/(HOST_FP_SIZE, )[0-9]+/\116384/' "$work/source/arch/x86/um/user-offsets.c"
	make=(nice make --silent -C "$work/source" ARCH=um "O=$work/build")
	if ! {
		"${make[@]}" KCONFIG_ALLCONFIG="$here/config" allnoconfig &&
			"${make[@]}" -j"$(nproc)" linux
	} >"$work/log" 2>&1 9>&-; then
		tail -n 40 "$work/log" >&2
		echo "uml: the kernel does not build" >&2
		exit 1
	fi
	strip -o "$work/uml/linux" "$work/build/linux"
	mv -T "$work/uml" "$cache/uml-$hash" # a rename: what is there is complete
fi
echo "$kernel"
