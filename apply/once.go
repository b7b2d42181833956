package apply

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"
)

// nameWait is how long a command waits for the resolver.
const nameWait = 5 * time.Second

// Once makes one interface what its file says, and returns nil only if it then is. The proposal is promoted where
// the interface takes proposals. An interface that Down took down comes up again.
func (c Config) Once(ctx context.Context, name string) error {
	if err := c.prepare(); err != nil {
		return err
	}
	if down := c.downFile(name); isThere(down) {
		if err := os.Remove(down); err != nil {
			return plain(down, err)
		}
	}
	ctx, cancel := context.WithCancel(ctx) // ends the questions to the resolver
	defer cancel()
	i := c.newIface(name, func() {})
	i.silent, i.wait = true, nameWait
	var l look
	for tries := 0; tries < 3; {
		l = i.look(ctx, true)
		switch wrong := l.wrong(); {
		case ctx.Err() != nil:
			return ctx.Err()
		case l.early && l.err != nil:
			return l.err
		case l.again > 0 && (l.early || l.steps == 0):
			sleep(ctx, l.again)
			continue
		case len(wrong) > 0:
			return errors.New(strings.Join(wrong, "\n"))
		case l.status.InForce == "":
			if !i.files.takesProposals {
				return fmt.Errorf("%s: there is no such file; with --proposed %s a proposal would make it", i.files.path, name)
			}
			return fmt.Errorf("%s: there is no such file, nor the proposal that would make it: %s", i.files.path, i.files.proposalPath)
		case l.steps == 0:
			i.voice.say(l.status, nil)
			return nil
		}
		tries++
	}
	return fmt.Errorf("%s: what was changed does not stay so: something else sets it back", name)
}

// wrong is everything that keeps the device from being as its files say.
func (l *look) wrong() []string {
	wrong := append(l.status.Refused, l.status.Errors...)
	if len(wrong) == 0 && l.err != nil {
		wrong = faults(l.err)
	}
	return wrong
}
