// wg-bench measures what a change costs on its way from a file to the device, beside what people would use in place
// of wg-apply, and what a tunnel costs its traffic.
//
// It works in namespaces that it makes itself, and leaves the machine's own interfaces and files alone.
package main

import (
	"fmt"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"wg-kube/internal/cli"
	"wg-kube/internal/lab/hosts"
)

func main() { os.Exit(cli.Run(root(), os.Args[1:])) }

func root() *cobra.Command {
	c := &cobra.Command{Use: "wg-bench", Short: "Measure the pipeline and the tunnel"}
	c.AddCommand(pipelineCommand(), tunnelCommand())
	return c
}

// enter goes behind a wall of namespaces. It returns there; outside, it exits as the program there does.
func enter() error {
	if !hosts.Inside() {
		signal.Reset(os.Interrupt, unix.SIGTERM) // out here there is nothing to clean up
	}
	if err := hosts.Enter(); err != nil {
		return fmt.Errorf("%w: it takes root, or a kernel that lets users make user namespaces", err)
	}
	return nil
}

// programs is the folder of the running program, where the others are as well.
func programs() (string, error) {
	exe, err := os.Executable()
	return filepath.Dir(exe), err
}
