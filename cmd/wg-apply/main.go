// wg-apply makes WireGuard interfaces what their wg-quick files say, and keeps them so, in place.
//
// It is the privileged half: what an interface may be proposed is checked here, and the private keys are here. It
// talks to no API server, and runs nothing that a file says, unless --hooks=run is given, and then nothing that a
// proposal says.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"wg-kube/apply"
	"wg-kube/apply/kernel"
	"wg-kube/internal/cli"
	"wg-kube/templates/wgquick"
)

func main() {
	cli.NoCore()
	os.Exit(cli.Run(new(program).root(), os.Args[1:]))
}

// program is the flags that every command has.
type program struct {
	apply.Config
	userspace           string
	logLevel, logFormat string
}

// beside adds the flags of what is run beside the device. Commands that bring nothing up or down have no use for them.
func (p *program) beside(c *cobra.Command) *cobra.Command {
	c.Flags().Var((*hooks)(&p.Hooks), "hooks", "run: run PreUp, PostUp, PreDown and PostDown of files made by hand, as wg-quick does; off: do not")
	c.Flags().BoolVar(&p.DNS, "dns", false, "give DNS of files made by hand to resolvconf, as wg-quick does")
	return c
}

// hooks is a flag that says "run" or "off".
type hooks bool

func (h *hooks) Type() string { return "string" }

func (h *hooks) String() string {
	if *h {
		return "run"
	}
	return "off"
}

func (h *hooks) Set(s string) error {
	if s != "run" && s != "off" {
		return errors.New("run or off is wanted")
	}
	*h = s == "run"
	return nil
}

func (p *program) root() *cobra.Command {
	c := &cobra.Command{
		Use:   "wg-apply",
		Short: "Make WireGuard interfaces what their wg-quick files say, in place",
		PersistentPreRunE: func(c *cobra.Command, _ []string) error {
			return p.settle(c)
		},
	}
	f := c.PersistentFlags()
	f.StringVar(&p.Dir, "dir", "/etc/wireguard", "folder of the files in force, and of the keys")
	f.StringVar(&p.Proposals, "proposals", "/var/lib/wg-render", "folder of the proposals")
	f.StringSliceVar(&p.Proposed, "proposed", nil, "an interface that takes proposals; may be repeated")
	f.StringVar(&p.RunDir, "run-dir", "/run/wg-kube", "folder of the status files")
	f.StringVar(&p.StatusCopy, "status-copy", "", "a folder where the status files are written as well, for a wg-render that does not see --run-dir")
	f.Float64Var(&p.MaxShrink, "max-shrink", 0.5, "the part of the peers, or of the prefixes, that proposals may drop within --shrink-window (three may always go, but not the last one, nor the last hub of a spoke)")
	f.DurationVar(&p.ShrinkWindow, "shrink-window", 10*time.Minute, "how long what is gone counts, at least; 0: each proposal is measured by itself")
	f.IntVar(&p.MaxPeers, "max-peers", wgquick.MaxPeers, "how many peers a proposal may have, and four times as many prefixes; 0: any number")
	f.DurationVar(&p.Settle, "settle", 100*time.Millisecond, "how long a file without an end mark has to be quiet before it is read, unless it was renamed into its place")
	f.StringVar(&p.PrivateKeyFile, "private-key-file", "", "take this private key instead of making one")
	f.StringVar(&p.userspace, "userspace", string(kernel.Start), "where the kernel has no WireGuard: start a wg-device, ask for one by a file in --run-dir (a path unit starts it), or off")
	f.StringVar(&p.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&p.logFormat, "log-format", "text", "text or json")
	cli.ShowEnv(f, nil)
	c.AddCommand(p.run(), p.once(), p.plan(), p.accept(), p.check(), p.status(), p.down(), p.keygen(), p.share())
	for _, command := range c.Commands() {
		cli.ShowEnv(command.Flags(), nil)
		if name := command.Name(); name != "check" && name != "share" { // they take something else
			command.ValidArgsFunction = p.completions
		}
	}
	return c
}

// settle takes in the environment, and refuses what makes no sense.
func (p *program) settle(c *cobra.Command) (err error) {
	if err := cli.FromEnv(c.Flags(), nil, os.Getenv); err != nil {
		return err
	}
	if p.Log, err = cli.Logger(c.ErrOrStderr(), p.logLevel, p.logFormat); err != nil {
		return err
	}
	for _, iface := range p.Proposed {
		if err := wgquick.CheckName(iface); err != nil {
			return cli.Usagef("--proposed: %w", err)
		}
	}
	switch kernel.Userspace(p.userspace) {
	case kernel.Start, kernel.Ask, kernel.Off:
	default:
		return cli.Usagef("--userspace: %q: start, ask or off is wanted", p.userspace)
	}
	switch {
	case p.MaxShrink < 0 || p.MaxShrink > 1 || p.MaxShrink != p.MaxShrink:
		return cli.Usagef("--max-shrink: %v: a number from 0 to 1 is wanted", p.MaxShrink)
	case p.ShrinkWindow < 0:
		return cli.Usagef("--shrink-window: %s: less than nothing", p.ShrinkWindow)
	case p.MaxPeers < 0:
		return cli.Usagef("--max-peers: %d: less than nothing", p.MaxPeers)
	case p.Settle < 0:
		return cli.Usagef("--settle: %s: less than nothing", p.Settle)
	case p.PrivateKeyFile != "" && len(p.Proposed) > 1:
		return cli.Usagef("--private-key-file: one key cannot be that of %d interfaces", len(p.Proposed))
	case p.Dir == p.Proposals:
		return cli.Usagef("--dir and --proposals are both %s: a proposal is not a file in force", p.Dir)
	}
	return nil
}

// open opens the kernel. Nothing is changed by that.
func (p *program) open() (*kernel.System, error) {
	k, err := kernel.New(kernel.Config{Userspace: kernel.Userspace(p.userspace), RunDir: p.RunDir, Log: p.Log})
	if err != nil {
		return nil, err
	}
	p.System, p.Surroundings = k, k.Surroundings
	return k, nil
}

// interfaces are those of the command line, or all that there are: those with a proposal last, so that none gets what is in
// force elsewhere.
func (p *program) interfaces(args []string) ([]string, error) {
	if len(args) > 0 {
		return args, nil
	}
	p.sayMisnamed()
	all, err := p.Interfaces()
	if err == nil && len(all) == 0 {
		err = fmt.Errorf("%s: no *.conf here, and no --proposed", p.Dir)
	}
	slices.SortStableFunc(all, func(a, b string) int {
		return cmp.Compare(slices.Index(p.Proposed, a), slices.Index(p.Proposed, b))
	})
	return all, err
}

// each does something to every interface that args name, or to all that there are. What fails for one of them is no
// reason to leave the others out.
func (p *program) each(args []string, do func(iface string) error) error {
	ifaces, err := p.interfaces(args)
	if err != nil {
		return err
	}
	k, err := p.open()
	if err != nil {
		return err
	}
	defer k.Close()
	var errs []error
	for _, iface := range ifaces {
		errs = append(errs, do(iface))
	}
	return errors.Join(errs...)
}

// sayMisnamed warns of files that look like interfaces and cannot be any.
func (p *program) sayMisnamed() {
	for _, err := range p.Misnamed() {
		p.Log.Warn(err.Error())
	}
}

// completions offers a shell the interfaces that are known and not named yet.
func (p *program) completions(c *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if p.settle(c) != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	known, _ := p.Known()
	known = slices.DeleteFunc(known, func(iface string) bool { return slices.Contains(args, iface) })
	return known, cobra.ShellCompDirectiveNoFileComp
}

// one refuses anything but one interface.
func one(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("%s: one interface is wanted", c.Name())
	}
	return some(c, args)
}

// some refuses arguments that cannot be interfaces.
func some(_ *cobra.Command, args []string) error {
	for _, iface := range args {
		if err := wgquick.CheckName(iface); err != nil {
			return err
		}
	}
	return nil
}
