package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
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
		Long: `Show how interfaces stand, as far as the caller may see it: those that are named, or all that there are.

Exit codes: 0 they are shown, however they stand; 1 one of them does not exist, or may not be looked at, which is said
after the others are shown. Whether there is something to do is for "wg-apply plan" to tell.`,
		Args: some,
		RunE: func(c *cobra.Command, args []string) error {
			if output != "text" && output != "json" {
				return cli.Usagef("--output: %q: text or json is wanted", output)
			}
			named := len(args) > 0
			if !named {
				var err error
				if args, err = p.Known(); err != nil {
					return err
				}
			}
			k, err := p.open()
			if err != nil {
				return err
			}
			defer k.Close()
			views, errs := []apply.View{}, []error{}
			for _, iface := range args {
				v, err := p.View(c.Context(), iface)
				switch {
				case err == nil:
					views = append(views, v)
				case named || !errors.Is(err, apply.ErrNoInterface): // a status is left of one that was there once
					errs = append(errs, err)
				}
			}
			if output == "json" {
				e := json.NewEncoder(c.OutOrStdout())
				e.SetIndent("", "  ")
				return errors.Join(append(errs, e.Encode(views))...)
			}
			for _, v := range views {
				show(c.OutOrStdout(), v, time.Now())
			}
			return errors.Join(errs...)
		},
	}
	c.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return c
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
	if len(v.Held) > 0 && v.HeldWhy != "" {
		fmt.Fprintf(w, "  held        %s\n", v.HeldWhy)
	}
	for _, h := range v.Held {
		fmt.Fprintf(w, "  held        %s; let go by: wg-apply accept %s\n", h, v.Interface)
	}
	for n, line := range v.LeftOut {
		if n == mostLeftOut {
			line = fmt.Sprintf("%d more, at the end of the proposal", len(v.LeftOut)-n)
		}
		fmt.Fprintf(w, "  left out    refused by wg-render: %s\n", line)
		if n == mostLeftOut {
			break
		}
	}
	if v.Waiting != "" {
		fmt.Fprintf(w, "  waiting     for %s\n", v.Waiting)
	}
	if v.Changes != nil && *v.Changes > 0 {
		fmt.Fprintf(w, "  changes     %d, shown by: wg-apply plan %s\n", *v.Changes, v.Interface)
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
	if !v.Live.Up {
		kind += ", down"
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
			age(p.LastHandshake, now), bytes(p.RxBytes), bytes(p.TxBytes), cmp.Or(shorten(p.AllowedIPs), "-"))
	}
	_ = t.Flush()
}

// mostLeftOut is how many of those that wg-render refused are shown.
const mostLeftOut = 5

// standing is the whole in a few words.
func standing(v apply.View) string {
	device := v.Live != nil || v.LiveError != ""
	differs := v.Changes != nil && *v.Changes > 0
	switch {
	case v.Down:
		return "down; up again with: wg-apply once " + v.Interface
	case len(v.Errors) > 0:
		return "not as its file says"
	case len(v.Refused) > 0 && !v.InUse():
		return "refused"
	case !device && v.Waiting != "":
		return "waiting for a file"
	case !device:
		return "no device"
	case v.InForce == "":
		return "no file in force"
	case v.Live != nil && !v.Live.Up:
		return "the link is down"
	case differs && v.Applied != "" && v.InForce != v.Applied:
		return "its file has changed since it was applied"
	case differs:
		return "not as its file says"
	case v.Changes == nil && v.InForce != v.Applied:
		return "not applied yet"
	}
	says := "as its file says"
	if v.Live == nil {
		says += ", when wg-apply last looked"
	}
	if len(v.Held) > 0 {
		says += "; removals are held"
	}
	if n := len(v.Refused); n > 0 {
		says += fmt.Sprintf("; %d refused", n)
	}
	return says
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

// shorten is the first few of a list.
func shorten(prefixes []netip.Prefix) string {
	const most = 4
	var all []string
	for n, a := range prefixes {
		if n == most {
			all = append(all, fmt.Sprintf("and %d more", len(prefixes)-n))
			break
		}
		all = append(all, a.String())
	}
	return strings.Join(all, ", ")
}
