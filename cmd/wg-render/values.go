package main

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
)

// value is a flag of typed values: exactly one, or a comma-separated list.
type value[T any] struct {
	set   func([]T)
	parse func(string) (T, error)
	list  bool
	form  string // for the help
	text  string // as it was given
}

// one adds a flag that holds one T.
func one[T any](fs *pflag.FlagSet, to *T, parse func(string) (T, error), name, form, usage string) {
	fs.Var(&value[T]{set: func(ts []T) { *to = ts[0] }, parse: parse, form: form}, name, usage)
}

// list adds a flag that holds several, in one word or in many.
func list[T any](fs *pflag.FlagSet, to *[]T, parse func(string) (T, error), name, form, usage string) {
	fs.Var(&value[T]{set: func(ts []T) { *to = append(*to, ts...) }, parse: parse, form: form, list: true}, name, usage)
}

func (v *value[T]) Set(s string) error {
	elements := []string{s}
	if v.list {
		elements = strings.Split(s, ",")
	}
	var ts []T
	for _, e := range elements {
		t, err := v.parse(strings.TrimSpace(e))
		if err != nil {
			return err
		}
		ts = append(ts, t)
	}
	v.set(ts)
	if v.list && v.text != "" {
		s = v.text + "," + s
	}
	v.text = s
	return nil
}

func (v *value[T]) String() string { return v.text }

// Type is what the help shows for the value.
func (v *value[T]) Type() string { return v.form }

func parseNodeName(s string) (string, error) {
	if len(validation.IsDNS1123Subdomain(s)) > 0 {
		return s, fmt.Errorf("%q: no Node has such a name", s)
	}
	return s, nil
}

func parseCIDR(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q: a CIDR is wanted, such as 100.96.0.1/32", s)
	}
	if p.Addr().Is4In6() {
		return p, fmt.Errorf("%q is IPv4 in the form of IPv6: write it as IPv4, as %s", s, p.Addr().Unmap())
	}
	return p, nil
}

func parseIP(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return a, fmt.Errorf("%q: an IP address is wanted", s)
	}
	return a.Unmap(), nil
}

func parseIPPort(s string) (netip.AddrPort, error) {
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Port() == 0 || a.Addr().Zone() != "" {
		return a, errors.New("IP:PORT is wanted, with brackets around an IPv6 address")
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}
