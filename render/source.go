package render

import (
	"context"
	"time"

	"wg-kube/render/overlay"
)

// Source knows Nodes: render/source/kube has them from an API server, render/source/manifests from files.
// Changed and Snapshot may be called before Run and while it runs.
type Source interface {
	// Run keeps the snapshot up to date until ctx is done, and returns nil then. Any other error is one that
	// waiting cannot cure: it ends the program. What is not there yet is waited for.
	Run(ctx context.Context) error

	// Changed has a signal waiting when Snapshot may return something else than before: other Nodes, or that
	// it is synced now. It is always the same channel, with room for one signal; it is never closed.
	Changed() <-chan struct{}

	// Snapshot returns the Nodes as they are known now; the caller does not change them. synced is false until
	// every Node that there is has been seen once; it never goes back.
	Snapshot() (nodes []overlay.Node, synced bool)
}

// Partial is a source that can be synced and yet not know every Node, because of what it could not read.
// Until it knows more, what such a Node has in the proposal stays.
type Partial interface {
	// Unread returns the names of Nodes that are there and that could not be read since the start; any, if it may
	// be any Node. Asked before Snapshot, it misses none that the snapshot lacks.
	Unread() (names []string, any bool)
}

// Remote is a source that may wait for something that never comes, and knows what.
type Remote interface {
	// Trouble returns what keeps the source from being synced, as far as it knows; nil: nothing does. Changed has a
	// signal when there is something new to it.
	Trouble() error
}

// Peers knows objects of one kind that are no Nodes: render/source/secrets, render/source/peers. Its other methods are
// as those of Source.
type Peers interface {
	Run(ctx context.Context) error
	Changed() <-chan struct{}
	Snapshot() (peers []overlay.Peer, synced bool)

	// Kind of the origin of each.
	Kind() string

	// Denied returns why the API server, which does answer, shows none of them; nil: it shows them, or nobody knows
	// yet. They are not waited for then: what they have in the proposal stays.
	Denied() error
}

// Heard is a source that is in touch with an API server, or should be.
type Heard interface {
	// LastSync is when the API server was last heard of; zero: never.
	LastSync() time.Time
	// OutOfTouch returns what cannot be read there any more since the source was synced; nil: nothing.
	OutOfTouch() error
}

// Publisher writes what this node says of itself to its own Node. The source that knows an API server is one.
type Publisher interface {
	// Publish sets these labels and annotations on the own Node, and no other, and reports whether it had to. Those that
	// it set before and that are not among them are removed. It tries once; the loop tries again.
	Publish(ctx context.Context, labels, annotations map[string]string) (written bool, err error)
}

// Answerer tells whoever made a claim what became of it. A source that knows an API server is one.
type Answerer interface {
	// Untold returns those of verdicts that it can tell and has not told: of the Nodes and other objects that it knows.
	// Of the nodes that tell the same objects, first is the one whose word counts where they differ.
	Untold(verdicts []overlay.Verdict, first bool) []overlay.Verdict

	// Answer tells one of them. It tries once; the loop tries again, unless the error is retry.ErrNever.
	Answer(ctx context.Context, v overlay.Verdict) error
}

// Fragments knows the static peers: render/source/fragments. Its methods are as those of Source.
// It is synced when every fragment that is there has been read once.
type Fragments interface {
	Run(ctx context.Context) error
	Changed() <-chan struct{}
	Snapshot() (fragments []overlay.Fragment, synced bool)
}
