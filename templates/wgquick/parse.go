package wgquick

import "fmt"

// Fault is one thing that is wrong with a file.
type Fault struct {
	File    string
	Line    int    // from 1; zero: the file as a whole
	Section string // "Interface", "Peer", or "" outside of both
	Peer    string // the peer's origin, else its public key; "" where there is none
	Key     string
	Msg     string // what is wrong, with the value quoted unless it is secret
}

// Faults is every fault of a file, in the order of its lines. It is the error of Parse.
type Faults []Fault

// Allow narrows what a file may say. For each list, nil allows every key, an empty list none.
type Allow struct {
	Interface []string
	Peer      []string
}

// Parse reads a wg-quick file. name is used in errors only.
// The error is Faults: all of them, not only the first.
func Parse(name string, b []byte) (*Config, error) { return ParseAllowed(name, b, Allow{}) }

// ParseAllowed is Parse for a file that may not say everything.
func ParseAllowed(name string, b []byte, a Allow) (*Config, error) {
	return nil, fmt.Errorf("not written yet")
}

// Complete reports whether the last line of b is an end mark that holds, without parsing the rest.
func Complete(b []byte) bool { return false }
