package render

import (
	"bytes"
	"fmt"
	"io/fs"
	"reflect"

	"wg-kube/render/overlay"
	"wg-kube/templates/wgquick"
)

// proposal is a file in the folder of proposals.
type proposal struct {
	file   []byte          // nil: there is none
	mode   fs.FileMode     // of the file
	config *wgquick.Config // nil: there is none, or it is broken
}

// inputs are what a proposal is made from, beside the one before.
type inputs struct {
	self   overlay.Self
	now    overlay.Snapshot
	policy overlay.Policy
}

// rendered is a proposal to be made, and what it is made from.
type rendered struct {
	proposal
	inputs  inputs
	prev    proposal // the one before
	refused []overlay.Rejection
	err     error // why it can be none
}

func (l *Loop) build(in inputs, prev proposal) *rendered {
	r := &rendered{inputs: in, prev: prev}
	r.config, r.refused = l.builder.Build(in.self, in.now, prev.config, in.policy)
	r.mode = mode
	r.file, _, r.err = l.reader.Marshal(r.config)
	if r.err == nil && len(r.file) > wgquick.MaxSize {
		r.err = tooLarge(r.config, len(r.file))
	}
	if r.err != nil {
		r.file, r.err = nil, fmt.Errorf("%s: %w", l.path(), r.err)
	}
	return r
}

// still reports whether r, which may be nil, is what building it once more would give: Build changes nothing in what
// it made itself.
func (r *rendered) still(in inputs, prev proposal) bool {
	if r == nil || prev.file == nil && r.prev.file != nil {
		return false
	}
	return (bytes.Equal(prev.file, r.file) || bytes.Equal(prev.file, r.prev.file)) && reflect.DeepEqual(in, r.inputs)
}

// tooLarge says whose peers take the most room.
func tooLarge(c *wgquick.Config, size int) error {
	peers := map[string][]wgquick.Peer{}
	for _, p := range c.Peers {
		of := "the Nodes"
		if p.Origin.Kind == overlay.KindFragment {
			of = p.Origin.String()
		}
		peers[of] = append(peers[of], p)
	}
	largest, most := "", 0
	for of, ps := range peers {
		b, _ := (&wgquick.Config{Peers: ps}).Marshal() // they are part of what was marshalled just now
		if n := len(b); n > most || n == most && of < largest {
			largest, most = of, n
		}
	}
	return fmt.Errorf("%.1f MiB, more than the %d MiB that wg-apply reads; %.1f MiB of it are from %s",
		mib(size), wgquick.MaxSize>>20, mib(most), largest)
}

func mib(bytes int) float64 { return float64(bytes) / (1 << 20) }
