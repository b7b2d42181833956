#!/bin/bash
# node.sh hub|spoke is a node that speaks the vocabulary of wg-kube and has nothing of it: curl, jq and wg-quick.
# It asks again and again, and restarts the interface when anything has changed.
#
# API is where Kubernetes is, as "kubectl proxy" serves it; NODE the name of the own Node; PREFIX that of labels and
# annotations; ADDRESS the own one; ALLOWED_IPS what a hub advertises; ENDPOINT where a hub is reached.
set -euo pipefail
umask 077
role=$1 conf=/etc/wireguard/wg0.conf key=/etc/wireguard/node.key
case $role in
hub) mine=hub others=peer ;;
spoke) mine=peer others=hub ;;
esac
[ -s "$key" ] || wg genkey >"$key"

about_me=$(jq -n --arg p "$PREFIX" --arg mine "$mine" --arg key "$(wg pubkey <"$key")" \
	--arg ips "${ALLOWED_IPS:-$ADDRESS}" --arg endpoint "${ENDPOINT:-}" '{metadata: {
		labels: {($p + $mine): "true"},
		annotations: ({($p + "public-key"): $key, ($p + "allowed-ips"): $ips}
			+ if $endpoint == "" then {} else {($p + "endpoint"): $endpoint} end)}}')
until curl -fsS -o /dev/null -X PATCH -H 'Content-Type: application/merge-patch+json' \
	--data "$about_me" "$API/api/v1/nodes/$NODE"; do sleep 0.2; done

render() {
	printf '[Interface]\nPrivateKey = %s\nAddress = %s\nListenPort = 51820\n' "$(cat "$key")" "$ADDRESS"
	curl -fsS -G --data-urlencode "labelSelector=$PREFIX$others=true" "$API/api/v1/nodes" |
		jq -r --arg p "$PREFIX" '.items[] | . as $node | (.metadata.annotations // {}) | select(has($p + "public-key")) |
			"\n# \($node.metadata.name)\n[Peer]\nPublicKey = \(.[$p + "public-key"])",
			"AllowedIPs = \(.[$p + "allowed-ips"] // ([$node.status.addresses[] | select(.type == "InternalIP").address] | join(",")))",
			(.[$p + "endpoint"] // empty | "Endpoint = \(.)\nPersistentKeepalive = 25")'
}

while true; do
	if render >"$conf.new" && ! cmp -s "$conf.new" "$conf"; then
		if [ -e "$conf" ]; then wg-quick down wg0; fi
		mv "$conf.new" "$conf"
		wg-quick up wg0
	fi
	sleep 0.5
done
