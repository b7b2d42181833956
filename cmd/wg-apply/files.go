package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"wg-kube/apply"
)

func (p *program) accept() *cobra.Command {
	return &cobra.Command{
		Use:   "accept IFACE",
		Short: "Let go what is held, and is still not in the proposal",
		Args:  one,
		RunE: func(c *cobra.Command, args []string) error {
			k, err := p.open()
			if err != nil {
				return err
			}
			defer k.Close()
			said, err := p.Accept(c.Context(), args[0])
			if err == nil && len(said) == 0 {
				said = []string{args[0] + ": nothing is held"}
			}
			for _, line := range said {
				fmt.Fprintln(c.OutOrStdout(), line)
			}
			return err
		},
	}
}

func (p *program) check() *cobra.Command {
	var proposal bool
	c := &cobra.Command{
		Use:   "check FILE...",
		Short: "Print every fault of files as file:line: ...; needs no privilege",
		Args: func(_ *cobra.Command, files []string) error {
			if len(files) == 0 {
				return errors.New("check: a file is wanted")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, files []string) error {
			var errs []error
			for _, file := range files {
				errs = append(errs, apply.Check(file, proposal))
			}
			return errors.Join(errs...)
		},
	}
	c.Flags().BoolVar(&proposal, "proposal", false, "check as a proposal, which may say less; what wg-render wrote always is")
	return c
}

func (p *program) share() *cobra.Command {
	gid := -1
	return &cobra.Command{
		Use:   "share GROUP",
		Short: "Let wg-render's group, by its number, read the status and write proposals, where no systemd-tmpfiles does",
		Args: func(_ *cobra.Command, args []string) (err error) {
			if len(args) == 1 {
				gid, err = strconv.Atoi(args[0])
			}
			if len(args) != 1 || err != nil || gid <= 0 {
				return errors.New("share: the number of one group is wanted, which is not root's")
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error { return p.Share(gid) },
	}
}

func (p *program) keygen() *cobra.Command {
	var imported string
	c := &cobra.Command{
		Use:   "keygen IFACE",
		Short: "Print the public key of an interface; make the private one where there is none",
		Args:  one,
		RunE: func(c *cobra.Command, args []string) error {
			if k, err := p.open(); err == nil { // the device may have the key; wg-key@.service may not look at it
				defer k.Close()
			}
			key, err := p.Keygen(c.Context(), args[0], imported)
			if err != nil {
				return err
			}
			fmt.Fprintln(c.OutOrStdout(), key)
			return nil
		},
	}
	c.Flags().StringVar(&imported, "import", "", "take the private key in this file, as \"wg genkey\" writes it")
	return c
}
