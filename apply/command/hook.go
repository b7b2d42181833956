package command

import (
	"context"
	"fmt"
	"os/exec"
	"strings"

	"wg-kube/templates/wgquick"
)

// script is what wg-quick does to a hook: it is evaluated under set -e and pipefail, with extglob, and can see two
// variables of wg-quick's that people have come to use. It gets no arguments.
const script = `INTERFACE=$1 CONFIG_FILE=$2 hook=$3; set --; eval "$hook"`

// Hooks runs the hooks of one kind ("PostUp"), each to its end, in the order of the file, until one fails.
func (r Runner) Hooks(ctx context.Context, kind string, hooks []string) error {
	for _, hook := range hooks {
		hook = strings.ReplaceAll(hook, "%i", r.Iface)
		bash, err := find("bash", "Debian: bash")
		if err == nil {
			err = r.run(ctx, kind, wgquick.HideKeys(hook), exec.Command(bash,
				"-e", "-o", "pipefail", "-O", "extglob", "-c", script, "wg-apply", r.Iface, r.File, hook))
		}
		if err != nil {
			return fmt.Errorf("%s: %s: %q: %w", r.File, kind, wgquick.HideKeys(hook), err)
		}
	}
	return nil
}
