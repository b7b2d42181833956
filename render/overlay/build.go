package overlay

import "wg-kube/templates/wgquick"

// Build renders the file that self should have.
//
// prev is the last proposal, nil if there is none: incumbents and last good claims are read from it.
// Build(s, Build(s, prev)) equals Build(s, prev), and the order of s does not matter.
func Build(self Self, s Snapshot, prev *wgquick.Config, p Policy) (*wgquick.Config, []Rejection) {
	panic("not written yet")
}

// Alone is the file of a node that knows nobody yet: the interface, from the flags.
func Alone(self Self, p Policy) *wgquick.Config { panic("not written yet") }

// Publish returns the labels and annotations, with their prefix, that self should carry on its own Node.
// It never returns a key that is not its own to set. An annotation that is unknown as yet is left out.
func Publish(self Self, own Node, p Policy) (labels, annotations map[string]string) {
	panic("not written yet")
}
