package wgquick

import (
	"bytes"
	_ "embed"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"text/template"
	"time"
)

//go:embed wgquick.conf.tmpl
var fileText string

var fileTemplate = template.Must(template.New("wgquick.conf").Funcs(template.FuncMap{
	"prefixes": joinPrefixes,
	"words":    func(s []string) string { return strings.Join(s, ", ") },
}).Parse(fileText))

// Marshal writes the file. It parses what it wrote and compares: the result means c, or there is an error.
// The same c gives the same bytes.
func (c *Config) Marshal() ([]byte, error) {
	b, _, err := new(Reader).Marshal(c)
	return b, err
}

// Marshal is c.Marshal, and what it read back: c with the line numbers of the file. What r read last is best the
// file that c is to replace. The prefixes of c may not be modified any more.
func (r *Reader) Marshal(c *Config) ([]byte, *Config, error) {
	for _, s := range c.comments() {
		if !fitsComment(s) {
			return nil, nil, fmt.Errorf("comment: %w", bad(s, "has a character that does not belong in one"))
		}
	}
	var out bytes.Buffer
	peers, err := r.write(c.Peers)
	if err == nil {
		err = fileTemplate.Execute(&out, text{c, peers})
	}
	if err != nil {
		return nil, nil, err
	}
	if c.End {
		out.WriteByte('\n')
		out.Write(markFor(out.Bytes()))
		out.WriteByte('\n')
	}
	back, err := r.Parse("written", out.Bytes())
	if err != nil {
		return nil, nil, err
	}
	if what := c.difference(back); what != "" {
		return nil, nil, fmt.Errorf("%s: no file says this: what was written reads back as something else", what)
	}
	return out.Bytes(), back, nil
}

// text is a Config as the template writes it.
type text struct {
	*Config
	Peers string // each written by a template of its own
}

// written is a peer, and how it is written.
type written struct {
	peer Peer
	text string
}

// write writes the peers. One that is as it was the last time is not written anew: a template is slow, and there may be
// ten thousand.
func (r *Reader) write(peers []Peer) (string, error) {
	var out bytes.Buffer
	out.Grow(len(r.body))
	now := make(map[PublicKey]written, len(peers))
	for i := range peers {
		p := &peers[i]
		w, known := r.written[p.PublicKey]
		if known && w.peer.same(p) {
			out.WriteString(w.text)
		} else {
			from := out.Len()
			if err := fileTemplate.ExecuteTemplate(&out, "peer", textOf(p)); err != nil {
				return "", err
			}
			w = written{*p, string(out.Bytes()[from:])}
		}
		now[p.PublicKey] = w
	}
	r.written = now
	return out.String(), nil
}

// peerText is a peer in words. An empty one is not said.
type peerText struct {
	Origin, Held                                                       string
	PublicKey, PresharedKey, AllowedIPs, Endpoint, PersistentKeepalive string
}

func textOf(p *Peer) (t peerText) {
	if t.Origin = p.Origin.String(); t.Origin != "" && p.Origin.UID != "" {
		t.Origin += " " + p.Origin.UID
	}
	if !p.Held.IsZero() {
		t.Held = p.Held.UTC().Format(time.RFC3339)
	}
	t.PublicKey = p.PublicKey.String()
	if !p.PresharedKey.IsZero() {
		t.PresharedKey = p.PresharedKey.Reveal()
	}
	t.AllowedIPs = joinPrefixes(p.AllowedIPs)
	t.Endpoint = p.Endpoint.String()
	if p.PersistentKeepalive != 0 {
		t.PersistentKeepalive = strconv.Itoa(int(p.PersistentKeepalive))
	}
	return t
}

func joinPrefixes(ps []netip.Prefix) string {
	var b []byte
	for i, p := range ps {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = p.AppendTo(b)
	}
	return string(b)
}
