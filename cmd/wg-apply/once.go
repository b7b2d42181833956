package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"wg-kube/internal/cli"
)

func (p *program) once() *cobra.Command {
	return p.beside(&cobra.Command{
		Use:   "once [IFACE...]",
		Short: "Make interfaces what their files say, and succeed only if they then are",
		Args:  names(cobra.ArbitraryArgs),
		RunE: func(c *cobra.Command, args []string) error {
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
				errs = append(errs, p.Once(c.Context(), iface))
			}
			return errors.Join(errs...)
		},
	})
}

func (p *program) plan() *cobra.Command {
	return p.beside(&cobra.Command{
		Use:   "plan [IFACE...]",
		Short: "Print what once would do, and change nothing; exit 0: nothing to do, 2: changes",
		Args:  names(cobra.ArbitraryArgs),
		RunE: func(c *cobra.Command, args []string) error {
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
			changes := false
			for _, iface := range ifaces {
				preview, err := p.Preview(c.Context(), iface)
				errs = append(errs, err)
				changes = changes || !preview.Empty()
				fmt.Fprint(c.OutOrStdout(), preview)
			}
			if err := errors.Join(errs...); err != nil {
				return err
			}
			if changes {
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
		Args:  names(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, args []string) error {
			k, err := p.open()
			if err != nil {
				return err
			}
			defer k.Close()
			return p.Down(c.Context(), args[0])
		},
	})
}
