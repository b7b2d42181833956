package wgquick

import (
	"bytes"
	_ "embed"
	"fmt"
	"maps"
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
	var out bytes.Buffer
	out.Grow(len(r.body) + 1<<10)
	if err := r.write(&out, c); err != nil {
		return nil, nil, err
	}
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

// write writes c without an end mark.
func (r *Reader) write(out *bytes.Buffer, c *Config) error {
	if err := fitComments(c.Head, c.Refused); err != nil {
		return err
	}
	if err := fileTemplate.ExecuteTemplate(out, "interface", c); err != nil {
		return err
	}
	if err := r.writePeers(out, c.Peers); err != nil {
		return err
	}
	return fileTemplate.ExecuteTemplate(out, "refused", c)
}

// written is a peer, and how it is written.
type written struct {
	peer Peer
	text string
	turn int // when it was last written
}

// writePeers writes peers. One that is as it was the last time is not written anew: a template is slow, and there may be
// ten thousand.
func (r *Reader) writePeers(out *bytes.Buffer, peers []Peer) error {
	if r.written == nil {
		r.written = make(map[PublicKey]*written, len(peers))
	}
	r.turn++
	for i := range peers {
		p := &peers[i]
		w := r.written[p.PublicKey]
		if w == nil || !w.peer.same(p) {
			if err := fitComments([]string{p.Origin.Kind, p.Origin.Name, p.Origin.UID}); err != nil {
				return err
			}
			from := out.Len()
			if err := fileTemplate.ExecuteTemplate(out, "peer", textOf(p)); err != nil {
				return err
			}
			w = &written{peer: *p, text: string(out.Bytes()[from:])}
			r.written[p.PublicKey] = w
		} else {
			out.WriteString(w.text)
		}
		w.turn = r.turn
	}
	if len(r.written) > len(peers) {
		maps.DeleteFunc(r.written, func(_ PublicKey, w *written) bool { return w.turn != r.turn })
	}
	return nil
}

// fitComments says which of the texts can stand in no comment.
func fitComments(texts ...[]string) error {
	for _, some := range texts {
		for _, s := range some {
			if !fitsComment(s) {
				return fmt.Errorf("comment: %w", bad(s, "has a character that does not belong in one"))
			}
		}
	}
	return nil
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
