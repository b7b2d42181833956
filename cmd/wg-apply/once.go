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
		Args:  some,
		RunE: func(c *cobra.Command, args []string) error {
			changes := false
			err := p.each(args, func(iface string) error {
				preview, err := p.Preview(c.Context(), iface)
				changes = changes || !preview.Empty()
				fmt.Fprint(c.OutOrStdout(), preview)
				return err
			})
			if err == nil && changes {
				return cli.Exit{Code: cli.Changes}
			}
			return err
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
