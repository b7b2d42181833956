// wg-render proposes the wg-quick file that this node should have. It reads Nodes, from Kubernetes or from
// manifests, and static fragments; it needs no capability, and it never sees a private key.
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"wg-kube/internal/cli"
	"wg-kube/internal/service"
	"wg-kube/render/source/files"
)

func main() {
	cli.NoCore() // preshared keys and a credential are in its memory
	os.Exit(cli.Run(command(), os.Args[1:]))
}

func command() *cobra.Command {
	o := &options{}
	root := &cobra.Command{
		Use:   "wg-render",
		Short: "Propose the wg-quick file that this node should have",
		Long: `wg-render reads Nodes, from Kubernetes or from manifests, and static fragments, and proposes the wg-quick file
that this node should have. It never sees a private key: wg-apply checks the proposal and puts it in force.

A flag can also come from the environment variable named with it; the command line wins.
Exit codes: 0 done, 1 it was tried and failed, 2 the command line makes no sense.`,
	}
	o.register(root.PersistentFlags())
	root.AddCommand(runCommand(o), onceCommand(o))
	return root
}

func runCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Keep the proposal as the sources want it, until SIGTERM",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := open(o, cmd)
			if err != nil {
				return err
			}
			defer service.Stopping()
			return together(cmd.Context(),
				p.loop.Run,
				func(ctx context.Context) error {
					service.HTTP{Addr: o.metricsAddr, Metrics: p.registry, Alive: p.loop.Alive, Ready: p.loop.Ready, Log: p.log}.Serve(ctx)
					return nil
				})
		},
	}
}

func onceCommand(o *options) *cobra.Command {
	var stdout bool
	cmd := &cobra.Command{
		Use:   "once",
		Short: "Propose once, from all that the sources know, and end",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := open(o, cmd)
			if err != nil {
				return err
			}
			// "run" waits for these.
			if _, err := os.Stat(o.nodes); o.nodes != "" && err != nil {
				return fmt.Errorf("--nodes: %w", files.Plain(err))
			}
			var to io.Writer = cmd.OutOrStdout()
			if !stdout {
				if _, err := os.Stat(o.out); err != nil {
					return fmt.Errorf("--out: %w", files.Plain(err))
				}
				to = nil
			}
			return p.loop.Once(cmd.Context(), to)
		},
	}
	cmd.Flags().BoolVar(&stdout, "stdout", false, "print the proposal and write nothing; the one on disk still says who was there first")
	return cmd
}

// together runs all until the first of them fails or ctx is done.
func together(ctx context.Context, all ...func(context.Context) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, one := range all {
		g.Go(func() error { return one(ctx) })
	}
	return g.Wait()
}
