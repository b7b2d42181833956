package hosts

import "strings"

// The userspace implementation that wg-quick falls back to has to go to the background by itself; wg-device does not.
const deviceInBackground = `#!/bin/sh
setsid 'DEVICE' "$1" </dev/null >"/run/wireguard/$1.log" 2>&1 &
for _ in $(seq 500); do
	[ -S "/run/wireguard/$1.sock" ] && exit 0
	sleep 0.01
done
cat "/run/wireguard/$1.log" >&2
exit 1
`

// DeviceInBackground puts a script on the host that starts the wg-device at path, for
// WG_QUICK_USERSPACE_IMPLEMENTATION of wg-quick(8), and returns where it is.
func (h *Host) DeviceInBackground(path string) (script string, err error) {
	const name = "/run/wg-device-in-background"
	return name, h.WriteFile(name, strings.ReplaceAll(deviceInBackground, "DEVICE", path), 0o755)
}
