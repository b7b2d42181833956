#!/bin/bash
# run.sh [-w DIR]... [-m MEGABYTES] [-t SECONDS] -- COMMAND [ARG...]
#
# Runs COMMAND as root on a kernel with WireGuard: a User-mode Linux that boots in half a second, needs no root and
# sees the file system of the machine, read-only but for each DIR. /tmp, /run and /var/tmp are empty inside.
# The working directory, output and exit status are COMMAND's, and so are the WGKUBE_* variables.
# For go test: -exec internal/lab/uml/run.sh
set -euo pipefail

usage() { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }

writable=() memory=1024 limit=1200
while getopts w:m:t: option; do
	case $option in
	w) writable+=("$(readlink -f "$OPTARG")") ;;
	m) memory=$OPTARG ;;
	t) limit=$OPTARG ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || usage

here=$(cd "$(dirname "$0")" && pwd)
kernel=${WGKUBE_UML:-$("$here/build.sh")}

# Everything that init.sh has to know is in one folder.
job=$(mktemp -d)
trap 'rm -rf "$job"' EXIT
printf '%s\0' "$@" >"$job/command"
pwd >"$job/cwd"
printf '%s\n' ${writable[@]+"${writable[@]}"} >"$job/writable"
{ # what the empty /tmp, /run and /var/tmp may hide
	(cd "$here/../../.." && pwd)
	pwd
	[ ! -e "$1" ] || dirname "$(readlink -f "$1")"
	[ -z "${WGKUBE_BIN:-}" ] || readlink -f "$WGKUBE_BIN"
} >"$job/readable"
for v in ${!WGKUBE_@}; do declare -p "$v"; done >"$job/env"

# The memory of the machine inside is a file, so it goes where files are memory, if there is room.
memdir=/dev/shm
[ "$(df --output=avail -k "$memdir" 2>/dev/null | tail -n 1)" -gt $((memory * 1024)) ] 2>/dev/null || memdir=/tmp

# The kernel is a static program, in which the rseq of glibc 2.35 and later cannot work.
export GLIBC_TUNABLES=glibc.pthread.rseq=0 TMPDIR=$memdir
setpriv --pdeathsig TERM timeout --kill-after=5 "$limit" "$kernel" "mem=${memory}M" "umid=wg-kube-$$" "uml_dir=$job" \
	root=/dev/root rootfstype=hostfs rootflags=/ ro "init=$here/init.sh" "job=$job" \
	quiet loglevel=1 stderr=0 con=null con0=null,fd:1 con1=null,fd:2 ssl=null </dev/null &
machine=$!
trap 'kill "$machine"; exit 130' INT TERM HUP
wait "$machine"
