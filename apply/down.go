package apply

import (
	"context"
	"errors"
	"fmt"
	"os"

	"wg-kube/internal/atomicfile"
)

// Down takes an interface down with all that is ours. Its file stays. It stays down, whatever the files say and
// also under a daemon that runs, until Once is called for it or the machine boots. As in wg-quick, a PreDown that
// fails leaves it up, and a PostDown that fails is the error of an interface that is down. Of one whose link is gone
// already, what is left goes, and no hook is run.
func (c Config) Down(ctx context.Context, name string) error {
	i, unlock, err := c.alone(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	live, err := c.System.Observe(ctx, name)
	if err != nil {
		return err
	}
	if !live.Exists && i.files.inForce.missing() {
		return fmt.Errorf("%s: there is neither such an interface nor %s", name, i.files.path)
	}
	if _, err := atomicfile.WriteIfChanged(c.downFile(name), []byte("wg-apply once "+name+" brings it up again\n"), 0o640); err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx) // half a way down is no place to stop
	run := commands{}
	if f := i.files.inForce.config; live.Exists && f != nil {
		run = c.commands(f)
		for _, line := range c.notRun(i.files.path, f, "PreDown", "PostDown") {
			i.log.Warn(line)
		}
	} else if live.Exists && c.Hooks {
		i.log.Warn(i.files.path + ": cannot be read, so no PreDown and PostDown of it is run")
	}
	if err := i.runner().Hooks(ctx, "PreDown", run.PreDown); err != nil {
		return errors.Join(err, os.Remove(c.downFile(name)))
	}
	gone, err := i.takeDown(ctx, run, &i.status)
	if !gone {
		return errors.Join(err, os.Remove(c.downFile(name)))
	}
	return errors.Join(err, i.save(i.status))
}
