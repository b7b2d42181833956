package wgquick

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"

	"gopkg.in/ini.v1"
)

// Allow narrows what a file may say. For each list, nil allows every key, an empty list none.
// Keys are spelled as Marshal writes them.
type Allow struct {
	Interface []string
	Peer      []string
	Peers     int // how many there may be, by --max-peers; zero: any number
}

// Parse reads a wg-quick file. name is used in errors only.
// The error is Faults: all of them, not only the first.
func Parse(name string, b []byte) (*Config, error) { return ParseAllowed(name, b, Allow{}) }

// ParseAllowed is Parse for a file that may not say everything.
func ParseAllowed(name string, b []byte, a Allow) (*Config, error) {
	body, end := splitEndMark(b)
	c, err := parse(name, body, a)
	if err != nil {
		return nil, err
	}
	c.End = end
	return c, nil
}

// parse reads a file without an end mark.
func parse(name string, body []byte, a Allow) (*Config, error) {
	var faults faultList
	file := check(string(body), a, &faults)
	r := reading{
		Config: &Config{Head: file.head, Refused: file.refused},
		faults: &faults,
		peers:  make(map[PublicKey]int, len(file.sections)),
	}
	if !faults.full() && !file.cut {
		if err := r.read(file); err != nil {
			return nil, Faults{{File: name, Msg: err.Error()}}
		}
	}
	if err := faults.err(name, file.sections); err != nil {
		return nil, err
	}
	return r.Config, nil
}

var errNormalForm = errors.New("ini.v1 did not read the file as it was checked")

// reading is a Config that is being filled.
type reading struct {
	*Config
	faults    *faultList
	peers     map[PublicKey]int // where each peer was first seen
	addresses map[netip.Prefix]bool
	line      int // of the value that is being read
	mtuLine   int
}

// peer is the one that is being filled.
func (r *reading) peer() *Peer { return &r.Peers[len(r.Peers)-1] }

// read lets ini.v1 read the normal form, and the table of keys what it found.
func (r *reading) read(file checked) error {
	parsed, err := ini.LoadSources(ini.LoadOptions{
		AllowNonUniqueSections:     true,
		AllowShadows:               true,
		AllowDuplicateShadowValues: true,
		IgnoreContinuation:         true,
		IgnoreInlineComment:        true,
		PreserveSurroundedQuote:    true,
		KeyValueDelimiters:         "=",
	}, file.normal)
	if err != nil {
		return errNormalForm // err may quote a line, and with it a key
	}
	named := parsed.Sections()[1:] // without the one for keys before the first header
	if len(named) != len(file.sections) {
		return errNormalForm
	}
	r.Peers = make([]Peer, 0, len(file.sections))
	for i := range file.sections {
		s := &file.sections[i]
		if s.name == "Interface" && r.Interface.Line == 0 {
			r.Interface.Line = s.line
		}
		if s.name == "Peer" {
			r.Peers = append(r.Peers, Peer{Origin: s.over.origin, Hub: s.over.hub, Held: s.over.held, Unjudged: s.over.unjudged, Line: s.line})
		}
		if err := r.readSection(s, named[i]); err != nil {
			return err
		}
		if s.name == "Peer" {
			r.meet(s)
		}
	}
	r.checkMTU()
	return nil
}

func (r *reading) readSection(s *section, from *ini.Section) error {
	for _, k := range from.Keys() {
		row := lookup(s.name, k.Name())
		if row == nil {
			return errNormalForm
		}
		for _, v := range k.ValueWithShadows() {
			line, quoted, ok := strings.Cut(v, " ")
			n, err := strconv.Atoi(line)
			if err != nil || !ok || len(quoted) < len(`""`) {
				return errNormalForm
			}
			r.line = n
			if err := row.set(r, quoted[1:len(quoted)-1]); err != nil {
				r.faults.add(n, row.name, "%s", err)
			}
		}
	}
	return nil
}

// meet refuses a peer that is there already.
func (r *reading) meet(s *section) {
	k := r.peer().PublicKey
	if k.IsZero() {
		return // a fault already
	}
	if s.peer == "" {
		s.peer = k.String()
	}
	if first, ok := r.peers[k]; ok {
		r.faults.add(s.line, "PublicKey", "%q: the same peer as in line %d", k, first)
		return
	}
	r.peers[k] = s.line
}

// checkMTU refuses what the kernel answers by taking every IPv6 address away.
func (r *reading) checkMTU() {
	if r.Interface.MTU == 0 || r.Interface.MTU >= minMTU6 {
		return
	}
	for _, a := range r.Interface.Address {
		if a.Addr().Is6() {
			r.faults.add(r.mtuLine, "MTU", "%s",
				bad(strconv.Itoa(r.Interface.MTU), "too small for the IPv6 address %s, which needs %d", a, minMTU6))
			return
		}
	}
}
