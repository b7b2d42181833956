package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"wg-kube/internal/bench"
	"wg-kube/internal/bench/tunnel"
	"wg-kube/internal/cli"
	"wg-kube/internal/lab/hosts"
)

const port = "51888"

// tunnelOptions are the flags of those who measure.
type tunnelOptions struct {
	kilobytes []int
	turns     int
	each      time.Duration
}

func (o *tunnelOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.IntSliceVar(&o.kilobytes, "payloads", []int{1, 4, 16}, "of the echoes, in KB")
	f.IntVar(&o.turns, "turns", 3, "how often either way has its turn")
	f.DurationVar(&o.each, "for", 5*time.Second, "how long one thing is measured in one turn")
}

func (o *tunnelOptions) args() []string {
	all := make([]string, len(o.kilobytes))
	for i, kb := range o.kilobytes {
		all[i] = strconv.Itoa(kb)
	}
	return []string{"--payloads", strings.Join(all, ","), "--turns", strconv.Itoa(o.turns), "--for", o.each.String()}
}

func tunnelCommand() *cobra.Command {
	var o tunnelOptions
	var out output
	var bin string
	c := &cobra.Command{
		Use:   "tunnel",
		Short: "Measure what a tunnel costs its traffic, between two namespaces or, with server and client, two hosts",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if err := enter(); err != nil {
				return err
			}
			if bin == "" {
				if bin, err = programs(); err != nil {
					return err
				}
			}
			rows, err := between(c.Context(), bin, o, c.ErrOrStderr())
			if err != nil {
				return err
			}
			return out.tunnel(c.OutOrStdout(), rows, "two namespaces of this machine")
		},
	}
	o.flags(c)
	out.flags(c.Flags())
	c.Flags().StringVar(&bin, "bin", "", "folder of wg-apply and wg-device (default: that of wg-bench)")
	c.AddCommand(tunnelServer(), tunnelClient())
	return c
}

func tunnelServer() *cobra.Command {
	var listen string
	c := &cobra.Command{
		Use:   "server",
		Short: "The side that answers, until it is told to stop",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			return tunnel.Serve(c.Context(), l)
		},
	}
	c.Flags().StringVar(&listen, "listen", ":"+port, "where; whoever gets there may use it")
	return c
}

func tunnelClient() *cobra.Command {
	var o tunnelOptions
	var out output
	var with, without string
	var asJSON bool
	c := &cobra.Command{
		Use:   "client --with HOST[:PORT] --without HOST[:PORT]",
		Short: "The side that measures, over two addresses of the server",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if with == "" || without == "" {
				return cli.Usagef("--with and --without: both are wanted")
			}
			config := tunnel.Config{
				Ways:     []tunnel.Way{{Name: "without the tunnel", Addr: withPort(without)}, {Name: "with the tunnel", Addr: withPort(with)}},
				Turns:    o.turns,
				For:      o.each,
				Progress: func(string) {},
			}
			for _, kb := range o.kilobytes {
				config.Payloads = append(config.Payloads, kb<<10)
			}
			if progress := progressOn(c.ErrOrStderr()); progress != nil {
				config.Progress = progress
				defer progress("")
			}
			rows, err := tunnel.Measure(c.Context(), config)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(c.OutOrStdout()).Encode(rows)
			}
			return out.tunnel(c.OutOrStdout(), rows, "two hosts, of which this is the client")
		},
	}
	o.flags(c)
	out.flags(c.Flags())
	c.Flags().StringVar(&with, "with", "", "an address of the server inside the tunnel")
	c.Flags().StringVar(&without, "without", "", "an address of the server outside of it")
	c.Flags().BoolVar(&asJSON, "json", false, "print the rows as JSON, and nothing else")
	return c
}

func withPort(addr string) string {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return net.JoinHostPort(addr, port)
	}
	return addr
}

// progressOn returns what writes a line on a terminal over and over; "" wipes it away. Nil: w is no terminal.
func progressOn(w io.Writer) func(string) {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return nil
	}
	return func(s string) { fmt.Fprintf(w, "\r\x1b[K%s", s) }
}

// between measures between two hosts in namespaces.
func between(ctx context.Context, bin string, o tunnelOptions, stderr io.Writer) (rows []tunnel.Row, err error) {
	pair, err := tunnel.NewPair(bin)
	if err != nil {
		return nil, err
	}
	defer pair.Close()
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	server := pair.Server.Command(self, "tunnel", "server")
	server.Stderr = stderr
	if err := server.Start(); err != nil {
		return nil, err
	}
	defer server.Wait()
	defer server.Process.Signal(unix.SIGTERM)
	if err := answers(pair.Client, pair.Wire()); err != nil {
		return nil, err
	}
	client := pair.Client.Command(append([]string{self, "tunnel", "client", "--json", "--with", pair.Inside(), "--without", pair.Wire()}, o.args()...)...)
	var printed bytes.Buffer
	client.Stdout, client.Stderr = &printed, stderr
	if err := client.Start(); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = client.Process.Signal(unix.SIGTERM) })()
	if err := client.Wait(); err != nil {
		return nil, fmt.Errorf("the client: %w", err)
	}
	err = json.Unmarshal(printed.Bytes(), &rows)
	return rows, err
}

// answers waits until the server does.
func answers(from *hosts.Host, server string) error {
	var err error
	for range 500 {
		err = from.Do(func() error {
			c, err := net.DialTimeout("tcp", net.JoinHostPort(server, port), time.Second)
			if err != nil {
				return err
			}
			return c.Close()
		})
		if err == nil {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("the server does not answer: %w", err)
}

// tunnel writes what was measured: a table, and with --dir the same as JSON and CSV.
func (o output) tunnel(w io.Writer, rows []tunnel.Row, where string) error {
	inKernel := "the kernel's"
	if _, err := os.Stat("/sys/module/wireguard"); err != nil {
		inKernel = "wg-device"
	}
	machine := bench.ThisMachine(inKernel)
	text := fmt.Sprintf("One run, begun %s, between %s, on %s.\n\n%s", time.Now().UTC().Format(time.DateTime+" MST"), where, machine, tunnel.Markdown(rows))
	if o.dir != "" {
		table, err := tunnel.CSV(rows)
		if err != nil {
			return err
		}
		b, err := json.MarshalIndent(map[string]any{"machine": machine, "rows": rows}, "", "\t")
		if err != nil {
			return err
		}
		if err := o.write(map[string][]byte{"tunnel.md": []byte(text), "tunnel.csv": table, "tunnel.json": append(b, '\n')}); err != nil {
			return err
		}
	}
	if o.page != "" {
		if err := bench.Refresh(filepath.Clean(o.page), "tunnel", text); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, text)
	return err
}
