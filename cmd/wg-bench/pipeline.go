package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"wg-kube/internal/atomicfile"
	"wg-kube/internal/bench"
	"wg-kube/internal/bench/pipeline"
)

func pipelineCommand() *cobra.Command {
	var c pipeline.Config
	var out output
	cmd := &cobra.Command{
		Use:   "pipeline",
		Short: "Measure the way of a change from a file, or from a Node, to the device",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := enter(); err != nil {
				return err
			}
			if c.Bin == "" {
				if c.Bin, err = programs(); err != nil {
					return err
				}
			}
			c.Sizes, c.Nodes = positive(c.Sizes), positive(c.Nodes)
			c.Say = cmd.ErrOrStderr()
			run, err := pipeline.Run(cmd.Context(), c)
			if run == nil {
				return err
			}
			return errors.Join(err, out.pipeline(cmd, run))
		},
	}
	f := cmd.Flags()
	f.StringVar(&c.Bin, "bin", "", "folder of wg-apply, wg-render and wg-device (default: that of wg-bench)")
	f.IntSliceVar(&c.Sizes, "sizes", []int{10, 100, 1_000, 10_000}, "numbers of peers; 0: none")
	f.IntVar(&c.Rounds, "rounds", 30, "changes measured of each kind, at each number of peers")
	f.DurationVar(&c.Bounded, "bounded", 2*time.Minute, "start no further round of one size after so long")
	f.IntVar(&c.QuickUp, "wg-quick-up", 1_000, "time wg-quick up with at most so many peers")
	f.DurationVar(&c.Rest, "rest", time.Minute, "watch the daemons for so long when nothing happens; 0: not at all")
	f.IntSliceVar(&c.Nodes, "nodes", []int{1_000, 5_000}, "sizes of clusters, on an API server that is built if need be; 0: none")
	f.IntVar(&c.Burst, "burst", 1_000, "Nodes of the largest cluster that are annotated at once")
	out.flags(f)
	return cmd
}

func positive(all []int) []int {
	return slices.DeleteFunc(all, func(n int) bool { return n <= 0 })
}

// output is where a run goes beside standard output.
type output struct {
	dir, page string
}

// pipeline writes what was measured: the tables, and with --dir the JSON and the plots.
func (o output) pipeline(cmd *cobra.Command, r *bench.Run) error {
	text := r.Report(pipeline.Tables(), pipeline.Targets())
	if o.dir != "" {
		b, err := r.JSON()
		if err != nil {
			return err
		}
		files := map[string][]byte{"pipeline.json": b, "pipeline.md": []byte(text)}
		for _, p := range pipeline.Plots() {
			for _, format := range []string{"svg", "png"} {
				if b, err = p.Draw(r, format); err != nil {
					return fmt.Errorf("plot %s: %w", p.File, err)
				}
				if b != nil {
					files[p.File+"."+format] = b
				}
			}
		}
		if err := o.write(files); err != nil {
			return err
		}
	}
	if o.page != "" {
		if err := bench.Refresh(o.page, "pipeline", text); err != nil {
			return err
		}
	}
	_, err := fmt.Fprint(cmd.OutOrStdout(), text)
	return err
}

func (o output) write(files map[string][]byte) error {
	if err := os.MkdirAll(o.dir, 0o755); err != nil {
		return err
	}
	for name, b := range files {
		if _, err := atomicfile.WriteIfChanged(filepath.Join(o.dir, name), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (o *output) flags(f *pflag.FlagSet) {
	f.StringVar(&o.dir, "dir", "", "write the figures as JSON and the plots into this folder")
	f.StringVar(&o.page, "page", "", "refresh the section of this Markdown page")
}
