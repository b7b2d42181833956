#!/bin/bash
# judge.sh DEVICE
#
# What wg-quick and wg make of each file that is named on a line of the standard input, by their own code: wg-quick's
# functions read the file, set its addresses and its MTU on lo, and wg gives the rest to DEVICE. To be run in a network
# namespace of its own. Each file is answered with a line: "accepted" or "refused".
#
# Beside a FILE that they accept it leaves FILE.quick (wg-quick's own keys) and FILE.dump (the device);
# beside any, FILE.err.

# shellcheck source=/dev/null
source <(sed '/function override insertion point/q' "$(command -v wg-quick)")
set +e
device=$1

# say KEY VALUE... writes what a key was read as.
say() {
	local key=$1 value
	shift
	for value; do printf '%s\t%s\0' "$key" "$value"; done
}

while read -r file; do
	(
		set -e
		parse_options "$file"
		wg setconf "$device" <(cmd_strip)
		# shellcheck disable=SC2034 # those functions read it
		INTERFACE=lo
		printf 'link set dev lo mtu 65536 up\naddress flush dev lo\n' | ip -batch -
		for address in "${ADDRESSES[@]}"; do add_addr "$address"; done
		[[ -z $MTU ]] || set_mtu_up
		{
			say Address "${ADDRESSES[@]}"
			say MTU "$MTU"
			say Table "$TABLE"
			say DNS "${DNS[@]}" "${DNS_SEARCH[@]}"
			say PreUp "${PRE_UP[@]}"
			say PostUp "${POST_UP[@]}"
			say PreDown "${PRE_DOWN[@]}"
			say PostDown "${POST_DOWN[@]}"
		} >"$file.quick"
		wg show "$device" dump >"$file.dump"
	) >/dev/null 2>"$file.err" </dev/null # and no || after it, which would turn set -e off
	case $? in
	0) echo accepted ;;
	*) echo refused ;;
	esac
done
