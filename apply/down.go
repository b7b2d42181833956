package apply

import (
	"context"
	"errors"
	"fmt"
	"os"

	"wg-kube/internal/atomicfile"
)

// Down takes an interface down with all that is ours. Its file stays. It stays down, whatever the files say and
// also under a daemon that runs, until Once is called for it or the machine boots.
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
	if !live.Exists {
		return nil
	}
	if err := c.System.Delete(ctx, name); err != nil {
		return errors.Join(err, os.Remove(c.downFile(name)))
	}
	i.status.Applied = ""
	return i.save(i.status)
}
