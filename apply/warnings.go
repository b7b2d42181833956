package apply

import "fmt"

// notDone is what a file says and wg-apply leaves undone, and what is dangerous about it.
func notDone(path string, p *parsed) []string {
	c := p.config.Interface
	var out []string
	if p.mode.Perm()&0o007 != 0 {
		out = append(out, fmt.Sprintf("%s: mode %04o lets everybody read the private key; chmod 600 makes it right", path, p.mode.Perm()))
	}
	for _, hook := range []struct {
		key      string
		commands []string
	}{{"PreUp", c.PreUp}, {"PostUp", c.PostUp}, {"PreDown", c.PreDown}, {"PostDown", c.PostDown}} {
		for _, command := range hook.commands {
			out = append(out, fmt.Sprintf("%s: %s is not run: %q", path, hook.key, command))
		}
	}
	if len(c.DNS) > 0 {
		out = append(out, fmt.Sprintf("%s: DNS is not set: %q", path, c.DNS))
	}
	return out
}
