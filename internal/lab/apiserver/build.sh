#!/bin/sh
# Builds kube-apiserver, kubectl and etcd once for this machine and user, and prints the folder that holds them.
# Cold it takes minutes; after that, as long as build/, this script and Go stay the same, no time at all.
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
cd "$here/build"
export GOWORK=off CGO_ENABLED=0

id=$({ go env GOVERSION GOOS GOARCH && cat go.mod go.sum ../build.sh; } | sha256sum | cut -c1-16)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/wg-kube
bin=$cache/apiserver-$id

if [ ! -d "$bin" ]; then
	mkdir -p "$cache"
	exec 9>"$cache/apiserver.lock"
	flock 9 # the kernel lets go of it, however this script ends
fi
if [ ! -d "$bin" ]; then
	rm -rf "$cache"/.apiserver-* # of a build that was killed
	tmp=$(mktemp -d "$cache/.apiserver-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' HUP INT TERM
	echo "building kube-apiserver, kubectl and etcd into $bin: this takes minutes, once" >&2
	kube=$(go list -m -f '{{.Version}}' k8s.io/kubernetes) # v1.36.3
	minor=${kube#v1.}
	version=k8s.io/component-base/version
	# Left to itself kube-apiserver thinks that it is v0.0.0, and refuses to start.
	go build -trimpath -o "$tmp" -ldflags "-s -w \
		-X $version.gitVersion=$kube -X $version.gitMajor=1 -X $version.gitMinor=${minor%%.*}" \
		k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kubectl >&2 9>&-
	go build -trimpath -o "$tmp/etcd" -ldflags '-s -w' go.etcd.io/etcd/server/v3 >&2 9>&-
	mv "$tmp" "$bin" # a rename: what is there is complete
fi
echo "$bin"
