package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"wg-kube/internal/cli"
)

func (p *program) once() *cobra.Command {
	return p.beside(&cobra.Command{
		Use:   "once [IFACE...]",
		Short: "Make interfaces what their files say, and succeed only if they then are",
		Args:  some,
		RunE: func(c *cobra.Command, args []string) error {
			return p.each(args, func(iface string) error { return p.Once(c.Context(), iface) })
		},
	})
}

func (p *program) plan() *cobra.Command {
	return p.beside(&cobra.Command{
		Use:   "plan [IFACE...]",
		Short: "Print what once would do, and change nothing; exit 0: nothing to do, 2: changes",
		Long: `Print what once would do, and change nothing.

Exit codes: 0 there is nothing to do; 2 there are changes; 1 an error, or something that once would fail for, whatever it
changes before: a name that cannot be resolved, a prefix that is refused. Each has a line that begins with "# later".`,
		Args: some,
		RunE: func(c *cobra.Command, args []string) error {
			changes, fails := false, false
			err := p.each(args, func(iface string) error {
				preview, err := p.Preview(c.Context(), iface)
				changes, fails = changes || !preview.Empty(), fails || len(preview.Later) > 0
				fmt.Fprint(c.OutOrStdout(), preview)
				return err
			})
			switch {
			case err != nil:
				return err
			case fails:
				return cli.Exit{Code: cli.Failed}
			case changes:
				return cli.Exit{Code: cli.Changes}
			}
			return nil
		},
	})
}

func (p *program) down() *cobra.Command {
	return p.beside(&cobra.Command{
		Use:   "down IFACE",
		Short: "Take an interface down; it stays so until \"wg-apply once IFACE\" or the next boot",
		Args:  one,
		RunE: func(c *cobra.Command, args []string) error {
			return p.each(args, func(iface string) error { return p.Down(c.Context(), iface) })
		},
	})
}
