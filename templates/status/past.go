package status

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"wg-kube/templates/wgquick"
)

// Past is what was in force lately, the oldest first: the file /run/wg-kube/IFACE.past, by which wg-apply measures what
// a proposal takes away. Like the status it holds nothing secret.
type Past []Moment

// Moment is the peers of one file that was in force.
type Moment struct {
	Until time.Time `json:"until"` // when another file took its place, by a clock that begins with the boot, as if in 1970
	Peers []Was     `json:"peers,omitempty"`

	// VoidBy, "sha256:...", says that no moment counts any more if that is the file in force, for a person has accepted
	// it. Such a moment is the last, and nothing else.
	VoidBy string `json:"voidBy,omitempty"`
}

// Was is a peer as it was, as far as it can be taken away.
type Was struct {
	PublicKey  wgquick.PublicKey `json:"publicKey"`
	Origin     wgquick.Origin    `json:"origin,omitzero"`
	AllowedIPs []netip.Prefix    `json:"allowedIPs,omitempty"`
}

// Marshal writes the file.
func (p Past) Marshal() ([]byte, error) { return json.Marshal(p) }

// ParsePast reads the file.
func ParsePast(name string, b []byte) (Past, error) {
	var p Past
	if err := json.Unmarshal(b, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}
