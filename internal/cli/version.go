package cli

import (
	"cmp"
	"runtime/debug"
)

// Version says from what the running program was built, as far as the build has recorded it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	return cmp.Or(info.Main.Version, "(devel)") + " " + info.GoVersion
}
