package wgquick

import "fmt"

// CheckName says what is wrong with the name of an interface: wg-quick and the kernel have to take it, and its file
// must not be a hidden one.
func CheckName(iface string) error {
	if !wellFormed(iface, "_=+.-", 15) || iface[0] == '.' {
		return fmt.Errorf("%q: not the name of an interface: 1 to 15 letters, digits or _=+.- are wanted, and no dot first", iface)
	}
	return nil
}
