// Package status is the file /run/wg-kube/IFACE.json, through which wg-apply tells the rest of the machine how
// an interface stands: its public key, which file is in force, what was refused or is held and why.
//
// It holds nothing secret and nothing that changes by itself: counters and handshakes are read live by
// "wg-apply status". Same state, same bytes. The package is pure.
package status

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"wg-kube/templates/wgquick"
)

// Status is one interface.
type Status struct {
	Interface string            `json:"interface"`
	PublicKey wgquick.PublicKey `json:"publicKey,omitzero"` // the current one; zero: there is no key yet
	Proposed  string            `json:"proposed,omitempty"` // "sha256:..." of the proposal last read
	InForce   string            `json:"inForce,omitempty"`  // "sha256:..." of the file in force last read
	Applied   string            `json:"applied,omitempty"`  // "sha256:..." of the file that the device was last made to match
	Errors    []string          `json:"errors,omitempty"`   // why the device is not as the file in force says
	Refused   []string          `json:"refused,omitempty"`  // faults of the proposal or the file, as "file:line: ..."
	Held      []Held            `json:"held,omitempty"`     // removals that wait for "wg-apply accept"
	HeldWhy   string            `json:"heldWhy,omitempty"`  // what was held last
	Warnings  []string          `json:"warnings,omitempty"`
	Waiting   string            `json:"waiting,omitempty"` // the path of the file that an interface without one in force waits for
	DNS       []string          `json:"dns,omitempty"`     // what resolvconf was last given for the interface, as the file says it
	Peers     []Peer            `json:"peers,omitempty"`   // by public key
}

// InUse reports whether the device was last made what the file in force says, whatever else was refused.
func (s Status) InUse() bool { return s.InForce != "" && s.Applied == s.InForce }

// Held is one peer, or one prefix of a peer, that the proposal no longer has and that is kept.
type Held struct {
	PublicKey wgquick.PublicKey `json:"publicKey"`
	Peer      string            `json:"peer,omitempty"`     // its origin
	Since     time.Time         `json:"since"`              // UTC, whole seconds
	Prefixes  []netip.Prefix    `json:"prefixes,omitempty"` // empty: the whole peer
}

// String is the peer and since when, with the first few prefixes where they alone are held.
func (h Held) String() string {
	const most = 4
	var what strings.Builder
	for n, p := range h.Prefixes {
		switch {
		case n == 0:
			fmt.Fprintf(&what, ": %s", p)
		case n < most:
			fmt.Fprintf(&what, ", %s", p)
		case n == most:
			fmt.Fprintf(&what, " and %d more", len(h.Prefixes)-most)
		}
	}
	return fmt.Sprintf("%s%s since %s", cmp.Or(h.Peer, h.PublicKey.String()), what.String(), h.Since.Format(time.RFC3339))
}

// Peer is what is remembered of a peer's endpoint over a restart of wg-apply.
type Peer struct {
	PublicKey wgquick.PublicKey `json:"publicKey"`
	Asked     wgquick.Endpoint  `json:"asked,omitzero"`    // what the file last asked for
	Resolved  netip.Addr        `json:"resolved,omitzero"` // where that led, if it is a name
	Roamed    netip.AddrPort    `json:"roamed,omitzero"`   // the endpoint last seen in use, where that differs
}

// Marshal writes the file.
func (s Status) Marshal() ([]byte, error) {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("status of %s: %w", s.Interface, err)
	}
	return append(b, '\n'), nil
}

// Parse reads the file. Fields that it does not know are ignored: the two daemons are not upgraded at one moment.
func Parse(name string, b []byte) (Status, error) {
	var s Status
	if err := json.Unmarshal(b, &s); err != nil {
		return Status{}, fmt.Errorf("%s: %w", name, err)
	}
	return s, nil
}
