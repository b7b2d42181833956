#!/bin/bash
# judge.sh DEVICE FILE...
#
# What wg-quick and wg make of each file, by their own code: wg-quick's functions read the file, set its addresses and
# its MTU on lo, and wg gives the rest to DEVICE. To be run in a network namespace of its own.
#
# Beside a FILE that they accept it leaves FILE.quick (wg-quick's own keys) and FILE.dump (the device);
# beside any, FILE.err.

# shellcheck disable=SC1090 # the installed wg-quick, without its last part, which runs a command
source <(sed '/function override insertion point/q' "$(command -v wg-quick)")
set +e
device=$1
shift

# say KEY VALUE... writes what a key was read as.
say() {
	local key=$1 value
	shift
	for value; do printf '%s\t%s\0' "$key" "$value"; done
}

for file; do
	(
		set -e
		parse_options "$file"
		cmd_strip >"$file.strip"
		wg setconf "$device" "$file.strip"
		# shellcheck disable=SC2034 # add_addr and set_mtu_up go by it
		INTERFACE=lo
		ip address flush dev lo
		ip link set dev lo mtu 65536 up
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
		wg show "$device" dump >"$file.dump" # last: it says that all went well
	) 2>"$file.err" # and no || after it, which would turn set -e off
done
exit 0
