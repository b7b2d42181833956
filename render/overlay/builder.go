package overlay

import (
	"maps"

	"wg-kube/templates/wgquick"
)

// Builder builds one file again and again. Of thousands of Nodes a change concerns a few: what one of the others says is
// not read once more. What Build returns is what the function Build does, whatever was built before.
//
// The zero value has read nothing yet.
type Builder struct {
	heard map[string]*heard // by the name of the Node
	turn  int               // how often anything was built
}

// heard is what a Node says, as it came and as it was understood.
type heard struct {
	values annotations
	said   said
	turn   int // when it was last asked for
}

// Build is the function Build.
func (b *Builder) Build(self Self, s Snapshot, prev *wgquick.Config, p Policy) (*wgquick.Config, []Rejection) {
	if b.heard == nil {
		b.heard = make(map[string]*heard, len(s.Nodes))
	}
	b.turn++
	c, rejections := b.build(self, s, prev, p)
	if len(b.heard) > len(s.Nodes) {
		maps.DeleteFunc(b.heard, func(_ string, h *heard) bool { return h.turn != b.turn })
	}
	return c, rejections
}

// said is what a Node says with these values.
func (b *Builder) said(name string, values annotations) *said {
	h := b.heard[name]
	if h == nil || h.values != values {
		h = &heard{values: values, said: read(values)}
		b.heard[name] = h
	}
	h.turn = b.turn
	return &h.said
}
