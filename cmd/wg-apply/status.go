package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"wg-kube/apply"
	"wg-kube/internal/cli"
)

func (p *program) status() *cobra.Command {
	var output string
	c := &cobra.Command{
		Use:   "status [IFACE...]",
		Short: "Show how interfaces stand, as far as the caller may see it",
		Args:  names(cobra.ArbitraryArgs),
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return cli.Usagef("--output: %q: text or json is wanted", output)
			}
			if len(args) == 0 {
				args = p.known()
			}
			k, err := p.open()
			if err != nil {
				return err
			}
			defer k.Close()
			views := []apply.View{}
			for _, iface := range args {
				v, err := p.View(c.Context(), iface)
				if err != nil {
					return err
				}
				views = append(views, v)
			}
			if output == "json" {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return e.Encode(views)
			}
			for _, v := range views {
				show(c.OutOrStdout(), v, time.Now())
			}
			return nil
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
}

// known are the interfaces that have a status, and those that have a file where the caller may see it.
func (p *program) known() []string {
	all, _ := p.Interfaces() // root alone may look there
	files, _ := filepath.Glob(filepath.Join(p.RunDir, "*.json"))
	for _, f := range files {
		if iface := strings.TrimSuffix(filepath.Base(f), ".json"); apply.CheckName(iface) == nil {
			all = append(all, iface)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// show writes one interface for people.
func show(w io.Writer, v apply.View, now time.Time) {
	fmt.Fprintf(w, "%s: %s\n", v.Interface, standing(v))
	if !v.PublicKey.IsZero() {
		fmt.Fprintf(w, "  public key  %s\n", v.PublicKey)
	}
	for _, file := range []struct{ what, hash string }{{"proposal", v.Proposed}, {"in force", v.InForce}, {"applied", v.Applied}} {
		if file.hash != "" {
			fmt.Fprintf(w, "  %-10s  %.19s\n", file.what, file.hash)
		}
	}
	for _, lines := range []struct {
		what  string
		lines []string
	}{{"error", v.Errors}, {"refused", v.Refused}, {"note", v.Warnings}} {
		for _, line := range lines.lines {
			fmt.Fprintf(w, "  %-10s  %s\n", lines.what, line)
		}
	}
	if len(v.DNS) > 0 {
		fmt.Fprintf(w, "  dns         %s, by resolvconf\n", strings.Join(v.DNS, ", "))
	}
	for _, h := range v.Held {
		what := "the whole peer"
		if len(h.Prefixes) > 0 {
			what = strings.Join(h.Prefixes, ", ")
		}
		fmt.Fprintf(w, "  held        %s: %s, since %s\n", cmp.Or(h.Peer, h.PublicKey.String()), what, h.Since.Format(time.RFC3339))
	}
	if v.LiveError != "" {
		fmt.Fprintf(w, "  device      not read: %s\n", v.LiveError)
	}
	if v.Live == nil {
		return
	}
	kind := "kernel"
	if v.Live.Userspace {
		kind = "wg-device"
	}
	fmt.Fprintf(w, "  device      %s, port %d, mtu %d, addresses %v\n", kind, v.Live.ListenPort, v.Live.MTU, v.Live.Addresses)
	if len(v.Live.Peers) == 0 {
		return
	}
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "  PEER\tPUBLIC KEY\tENDPOINT\tHANDSHAKE\tRECEIVED\tSENT\tALLOWED IPS")
	for _, p := range v.Live.Peers {
		endpoint := "-"
		if p.Endpoint.IsValid() {
			endpoint = p.Endpoint.String()
		}
		fmt.Fprintf(t, "  %s\t%s\t%s\t%s\t%s\t%s\t%s\n", cmp.Or(p.Name, "-"), p.PublicKey, endpoint,
			age(p.LastHandshake, now), bytes(p.RxBytes), bytes(p.TxBytes), prefixes(p))
	}
	_ = t.Flush()
}

// standing is the whole in a few words.
func standing(v apply.View) string {
	switch {
	case len(v.Errors) > 0:
		return "not as its file says"
	case len(v.Refused) > 0:
		return "refused"
	case v.Live == nil && v.LiveError == "":
		return "no device"
	case v.InForce == "":
		return "no file in force"
	case v.InForce != v.Applied:
		return "not applied yet"
	case len(v.Held) > 0:
		return "as its file says; removals are held"
	}
	return "as its file says"
}

func age(t, now time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return now.Sub(t).Truncate(time.Second).String() + " ago"
}

// bytes is a number of bytes for people.
func bytes(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	f, unit := float64(n)/1024, 0
	for f >= 1024 {
		f /= 1024
		unit++
	}
	return fmt.Sprintf("%.1f %ciB", f, units[unit])
}

func prefixes(p apply.LivePeer) string {
	const most = 4
	var all []string
	for n, a := range p.AllowedIPs {
		if n == most {
			all = append(all, fmt.Sprintf("and %d more", len(p.AllowedIPs)-n))
			break
		}
		all = append(all, a.String())
	}
	return cmp.Or(strings.Join(all, ", "), "-")
}
