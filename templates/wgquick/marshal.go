package wgquick

import (
	"bytes"
	"cmp"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Marshal writes the file. It parses what it wrote and compares: the result means c, or there is an error.
// The same c gives the same bytes.
func (c *Config) Marshal() ([]byte, error) {
	b, _, err := new(Reader).Marshal(c)
	return b, err
}

// Marshal is c.Marshal, and what it read back: c with the line numbers of the file. What r read last is best the
// file that c is to replace.
func (r *Reader) Marshal(c *Config) ([]byte, *Config, error) {
	if err := c.fitComments(); err != nil {
		return nil, nil, err
	}
	var out text
	out.Grow(len(r.body) + 1<<10)
	out.config(c)
	if c.End {
		out.WriteByte('\n')
	}
	back, err := r.parse("written", out.Bytes())
	if err != nil {
		return nil, nil, err
	}
	if c.End {
		out.Write(markFor(out.Bytes()))
		out.WriteByte('\n')
	}
	back.End = c.End
	if what := c.difference(back); what != "" {
		return nil, nil, fmt.Errorf("%s: no file says this: what was written reads back as something else", what)
	}
	return out.Bytes(), back, nil
}

// fitComments says what cannot stand in a comment.
func (c *Config) fitComments() error {
	fit := func(texts ...string) error {
		for _, s := range texts {
			if !fitsComment(s) {
				return fmt.Errorf("comment: %w", bad(s, "has a character that does not belong in one"))
			}
		}
		return nil
	}
	for i := range c.Peers {
		o := &c.Peers[i].Origin
		if err := fit(o.Kind, o.Name, o.UID); err != nil {
			return err
		}
	}
	return cmp.Or(fit(c.Head...), fit(c.Refused...))
}

// text is a file as it is written.
//
// It is no text/template: that calls methods by their names, so the linker keeps every method of every type, and
// wg-apply would take two megabytes more in memory.
type text struct{ bytes.Buffer }

// config writes all but the end mark.
func (t *text) config(c *Config) {
	for _, comment := range c.Head {
		if comment != "" {
			comment = " " + comment
		}
		t.line("#", comment)
	}
	if len(c.Head) > 0 {
		t.line()
	}
	t.iface(&c.Interface)
	for i := range c.Peers {
		t.line()
		t.peer(&c.Peers[i])
	}
	if len(c.Refused) > 0 {
		t.line()
	}
	for _, refusal := range c.Refused {
		t.line("# ", refusedMark, " ", refusal)
	}
}

func (t *text) iface(i *Interface) {
	t.line("[Interface]")
	if !i.PrivateKey.IsZero() {
		t.key("PrivateKey", i.PrivateKey.Reveal())
	}
	t.key("Address", joinPrefixes(i.Address))
	t.key("ListenPort", number(int(i.ListenPort)))
	t.key("MTU", number(i.MTU))
	if i.FwMark != 0 {
		t.key("FwMark", fmt.Sprintf("%#x", i.FwMark))
	}
	t.key("Table", i.Table)
	t.key("DNS", strings.Join(i.DNS, ", "))
	t.key("PreUp", i.PreUp...)
	t.key("PostUp", i.PostUp...)
	t.key("PreDown", i.PreDown...)
	t.key("PostDown", i.PostDown...)
}

func (t *text) peer(p *Peer) {
	switch {
	case p.Origin.UID != "":
		t.line("# ", originMark, p.Origin.String(), " ", p.Origin.UID)
	case p.Origin != Origin{}:
		t.line("# ", originMark, p.Origin.String())
	}
	if p.Hub {
		t.line("# ", hubMark, "whoever is no peer here is reached through it")
	}
	if !p.Held.IsZero() {
		t.line("# ", heldMark, p.Held.UTC().Format(time.RFC3339), `, until "wg-apply accept"`)
	}
	if len(p.Unjudged) > 0 {
		t.line("# ", unjudgedMark, joinPrefixes(p.Unjudged))
	}
	t.line("[Peer]")
	t.line("PublicKey = ", p.PublicKey.String())
	if !p.PresharedKey.IsZero() {
		t.key("PresharedKey", p.PresharedKey.Reveal())
	}
	t.key("AllowedIPs", joinPrefixes(p.AllowedIPs))
	t.key("Endpoint", p.Endpoint.String())
	t.key("PersistentKeepalive", number(int(p.PersistentKeepalive)))
}

// key writes a line for each value. One that is empty is not said.
func (t *text) key(name string, values ...string) {
	for _, v := range values {
		if v != "" {
			t.line(name, " = ", v)
		}
	}
}

func (t *text) line(words ...string) {
	for _, w := range words {
		t.WriteString(w)
	}
	t.WriteByte('\n')
}

// number is "" for zero, which is not said.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func joinPrefixes(ps []netip.Prefix) string {
	b := make([]byte, 0, 128) // room for the few that a peer has
	for i, p := range ps {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = p.AppendTo(b)
	}
	return string(b)
}
