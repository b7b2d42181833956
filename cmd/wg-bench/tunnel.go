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
	"slices"
	"strconv"
	"strings"
	"sync"
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
	format    string
}

func (o *tunnelOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.IntSliceVar(&o.kilobytes, "payloads", []int{1, 4, 16}, "of the echoes, in KB")
	f.IntVar(&o.turns, "turns", 3, "how often either way has its turn")
	f.DurationVar(&o.each, "for", 5*time.Second, "how long one thing is measured in one turn")
	f.StringVar(&o.format, "format", "table", "of what is printed: table, csv or json")
}

// check says which flag makes no sense.
func (o *tunnelOptions) check() error {
	const largest = tunnel.Largest >> 10
	for _, kb := range o.kilobytes {
		if kb < 1 || kb > largest {
			return cli.Usagef("--payloads %d: from 1 to %d KB", kb, largest)
		}
	}
	switch {
	case o.turns < 1:
		return cli.Usagef("--turns %d: at least one is wanted", o.turns)
	case o.each <= 0:
		return cli.Usagef("--for %s: some time is wanted", o.each)
	case !slices.Contains([]string{"table", "csv", "json"}, o.format):
		return cli.Usagef("--format %q: table, csv or json", o.format)
	}
	return nil
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
			if err := o.check(); err != nil {
				return err
			}
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
			return out.tunnel(c.OutOrStdout(), rows, "two namespaces of this machine", o.format)
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
			fmt.Fprintf(c.ErrOrStderr(), "listens at %s; on the other host: wg-bench tunnel client --without ADDRESS --with ADDRESS\n", l.Addr())
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
	c := &cobra.Command{
		Use:   "client --with HOST[:PORT] --without HOST[:PORT]",
		Short: "The side that measures, over two addresses of the server",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if with == "" || without == "" {
				return cli.Usagef("--with and --without: both are wanted")
			}
			if err := o.check(); err != nil {
				return err
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
			return out.tunnel(c.OutOrStdout(), rows, "two hosts, of which this is the client", o.format)
		},
	}
	o.flags(c)
	out.flags(c.Flags())
	c.Flags().StringVar(&with, "with", "", "an address of the server inside the tunnel")
	c.Flags().StringVar(&without, "without", "", "an address of the server outside of it")
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
	var said bytes.Buffer
	server.Stderr = &said
	if err := server.Start(); err != nil {
		return nil, err
	}
	stop := sync.OnceFunc(func() {
		_ = server.Process.Signal(unix.SIGTERM)
		_ = server.Wait()
	})
	defer stop()
	if err := answers(pair.Client, pair.Wire()); err != nil {
		stop()
		return nil, fmt.Errorf("%w; it said: %s", err, said.String())
	}
	client := pair.Client.Command(append([]string{self, "tunnel", "client", "--format", "json", "--with", pair.Inside(), "--without", pair.Wire()}, o.args()...)...)
	var printed bytes.Buffer
	client.Stdout, client.Stderr = &printed, stderr
	if err := client.Start(); err != nil {
		return nil, err
	}
	defer context.AfterFunc(ctx, func() { _ = client.Process.Signal(unix.SIGTERM) })()
	if err := client.Wait(); err != nil {
		return nil, fmt.Errorf("the client: %w", err)
	}
	var is measured
	err = json.Unmarshal(printed.Bytes(), &is)
	return is.Rows, err
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

// measured is the form of the JSON.
type measured struct {
	Machine bench.Machine `json:"machine"`
	Rows    []tunnel.Row  `json:"rows"`
}

// tunnel prints what was measured in a format, and writes it with --dir in each.
func (o output) tunnel(w io.Writer, rows []tunnel.Row, where, format string) error {
	inKernel := "the kernel's"
	if _, err := os.Stat("/sys/module/wireguard"); err != nil {
		inKernel = "wg-device"
	}
	machine := bench.ThisMachine(inKernel)
	text := fmt.Sprintf("One run, begun %s, between %s, on %s.\n\n%s", time.Now().UTC().Format(time.DateTime+" MST"), where, machine, tunnel.Markdown(rows))
	sheet, err := tunnel.CSV(rows)
	if err != nil {
		return err
	}
	b, err := json.MarshalIndent(measured{machine, rows}, "", "\t")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if o.dir != "" {
		if err := o.write(map[string][]byte{"tunnel.md": []byte(text), "tunnel.csv": sheet, "tunnel.json": b}); err != nil {
			return err
		}
	}
	if o.page != "" {
		if err := bench.Refresh(filepath.Clean(o.page), "tunnel", text); err != nil {
			return err
		}
	}
	switch format {
	case "csv":
		_, err = w.Write(sheet)
	case "json":
		_, err = w.Write(b)
	default:
		_, err = io.WriteString(w, text)
	}
	return err
}
