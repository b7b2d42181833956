package wgquick

import (
	"bytes"
	"slices"
	"sort"
)

// Reader reads one file again and again. Of ten thousand peers a change concerns a few: what stands before it and after
// it is not read once more. What Parse returns is what ParseAllowed does, whatever was read before; but what has not
// changed is shared between the two, so neither may be modified. It writes in the same way.
//
// The zero value has read nothing yet, and allows everything.
type Reader struct {
	Allow  Allow
	body   []byte  // what was read last without a fault, without an end mark
	config *Config // what it says; nil: nothing was read yet
}

// Parse reads the file as it is now. b may not be modified any more.
func (r *Reader) Parse(name string, b []byte) (*Config, error) {
	body, end := splitEndMark(b)
	c, err := r.parse(name, body)
	if err != nil {
		return nil, err
	}
	c.End = end
	return c, nil
}

// parse reads a file without an end mark.
func (r *Reader) parse(name string, body []byte) (*Config, error) {
	c := r.changed(body)
	if c == nil {
		var err error
		if c, err = parse(name, body, r.Allow); err != nil {
			return nil, err
		}
	}
	r.body, r.config = body, c
	return c, nil
}

// changed is what body says, taken from what was read last, but for some peers in the middle. nil: too much is
// different, or not so plain. What is at fault never is.
func (r *Reader) changed(body []byte) *Config {
	if r.config == nil || bytes.Count(body, newline) >= maxLines {
		return nil
	}
	was := r.body
	from := sameBefore(was, body)
	if from == 0 {
		return nil
	}
	same := sameAfter(was[from:], body[from:], was, body)
	goneText, freshText := was[from:len(was)-same], body[from:len(body)-same]
	if len(goneText)+len(freshText) > len(body)/2 {
		return nil
	}
	gone, goneErr := parse("", goneText, r.Allow)
	fresh, freshErr := parse("", freshText, r.Allow)
	lines := bytes.Count(was[:from], newline)
	at := r.config.Interface.Line
	if goneErr != nil || freshErr != nil || gone.Interface.Line+fresh.Interface.Line > 0 || at == 0 || at > lines {
		return nil
	}
	first := sort.Search(len(r.config.Peers), func(i int) bool { return r.config.Peers[i].Line > lines })
	before, after := r.config.Peers[:first], r.config.Peers[first+len(gone.Peers):]
	if meet(fresh.Peers, before, after) {
		return nil
	}
	c := *r.config
	if same == 0 {
		c.Refused = fresh.Refused
	}
	c.Peers = slices.Concat(before, fresh.Peers, after)
	for i := range fresh.Peers {
		c.Peers[first+i].Line += lines
	}
	shift := bytes.Count(freshText, newline) - bytes.Count(goneText, newline)
	for i := first + len(fresh.Peers); i < len(c.Peers); i++ {
		c.Peers[i].Line += shift
	}
	return &c
}

var (
	newline   = []byte("\n")
	emptyLine = []byte("\n\n")
)

// block is how many bytes are compared at once.
const block = 1 << 10

// sameBefore is how many bytes a and b have in common before the first peer that differs; zero: none.
func sameBefore(a, b []byte) int {
	n, end := 0, min(len(a), len(b))
	for end-n > block && bytes.Equal(a[n:n+block], b[n:n+block]) {
		n += block
	}
	for n < end && a[n] == b[n] {
		n++
	}
	for n = bytes.LastIndex(a[:n], emptyLine) + 1; n > 0; n = bytes.LastIndex(a[:n], emptyLine) + 1 {
		if peerAt(a, n) && peerAt(b, n) {
			return n
		}
	}
	return 0
}

// sameAfter is how many bytes a and b, the ends of two files, have in common from a peer on after the last one that
// differs; zero: there is none.
func sameAfter(a, b, fileA, fileB []byte) int {
	n, end := 0, min(len(a), len(b))
	for end-n > block && bytes.Equal(a[len(a)-n-block:len(a)-n], b[len(b)-n-block:len(b)-n]) {
		n += block
	}
	for n < end && a[len(a)-1-n] == b[len(b)-1-n] {
		n++
	}
	for tail := b[len(b)-n:]; ; {
		i := bytes.Index(tail, emptyLine)
		if i < 0 {
			return 0
		}
		tail = tail[i+1:]
		if peerAt(fileA, len(fileA)-len(tail)) && peerAt(fileB, len(fileB)-len(tail)) {
			return len(tail)
		}
	}
}

// peerAt reports whether the empty line at n divides a file: before it stands a setting, and after it, under comments
// of its own, a [Peer]. So a comment belongs to one side alone.
func peerAt(file []byte, n int) bool {
	last := file[bytes.LastIndexByte(file[:n-1], '\n')+1 : n-1]
	if len(last) == 0 || (last[0]|0x20 < 'a' || last[0]|0x20 > 'z') {
		return false
	}
	for line := range bytes.Lines(file[n+1:]) {
		if line[0] != '#' {
			return string(line) == "[Peer]\n"
		}
	}
	return false
}

// meet reports whether one of the peers is among the others.
func meet(peers []Peer, others ...[]Peer) bool {
	if len(peers) == 0 {
		return false
	}
	keys := make(map[PublicKey]bool, len(peers))
	for i := range peers {
		keys[peers[i].PublicKey] = true
	}
	for _, some := range others {
		for i := range some {
			if keys[some[i].PublicKey] {
				return true
			}
		}
	}
	return false
}
