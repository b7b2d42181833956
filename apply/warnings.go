package apply

import (
	"fmt"
	"slices"

	"wg-kube/templates/wgquick"
)

// notDone is what a file says and wg-apply leaves undone, and what is dangerous about it.
func (c Config) notDone(path string, p *parsed) []string {
	var out []string
	if p.mode.Perm()&0o007 != 0 {
		out = append(out, fmt.Sprintf("%s: mode %04o lets everybody read the private key; chmod 600 makes it right", path, p.mode.Perm()))
	}
	out = append(out, c.notRun(path, p.config, "PreUp", "PostUp", "PreDown", "PostDown")...)
	dns := discreet(p.config.Interface.DNS)
	switch {
	case len(dns) == 0 || len(c.commands(p.config).DNS) > 0:
	case Ours(p.config):
		out = append(out, fmt.Sprintf("%s: DNS is not set: %q: the file is written from a proposal", path, dns))
	case !c.DNS:
		out = append(out, fmt.Sprintf("%s: DNS is not set: %q: that takes --dns", path, dns))
	default:
		out = append(out, fmt.Sprintf("%s: DNS is not set: %q: there is no resolver among them", path, dns))
	}
	return out
}

// discreet are words as they may be shown: a key in the wrong place is hidden.
func discreet(words []string) (shown []string) {
	for _, word := range words {
		shown = append(shown, wgquick.Shown(word))
	}
	return shown
}

// notRun are the hooks of a file that are not run, of the kinds that are named.
func (c Config) notRun(path string, f *wgquick.Config, kinds ...string) []string {
	why := "that takes --hooks=run"
	switch {
	case Ours(f):
		why = "the file is written from a proposal"
	case c.Hooks:
		return nil
	}
	var out []string
	is := f.Interface
	for _, hook := range []struct {
		kind     string
		commands []string
	}{{"PreUp", is.PreUp}, {"PostUp", is.PostUp}, {"PreDown", is.PreDown}, {"PostDown", is.PostDown}} {
		if !slices.Contains(kinds, hook.kind) {
			continue
		}
		for _, line := range hook.commands {
			out = append(out, fmt.Sprintf("%s: %s is not run: %q: %s", path, hook.kind, wgquick.HideKeys(line), why))
		}
	}
	return out
}
