package wgquick

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Fault is one thing that is wrong with a file.
type Fault struct {
	File    string
	Line    int    // from 1; zero: the file as a whole
	Section string // "Interface", "Peer", or "" outside of both
	Peer    string // the name of the peer's origin, else its public key; "" where there is neither
	Key     string
	Msg     string // what is wrong, with the value quoted unless it is secret
}

// Error is `file:line: [Section] peer: Key: "value": reason`, without the parts that there are not.
func (f Fault) Error() string {
	var parts []string
	if f.Line > 0 {
		parts = append(parts, f.File+":"+strconv.Itoa(f.Line))
	} else if f.File != "" {
		parts = append(parts, f.File)
	}
	if f.Section != "" {
		parts = append(parts, strings.TrimSpace("["+f.Section+"] "+f.Peer))
	}
	if f.Key != "" {
		parts = append(parts, f.Key)
	}
	return strings.Join(append(parts, f.Msg), ": ")
}

// Faults is every fault of a file, in the order of its lines. It is the error of Parse.
type Faults []Fault

// Error is one fault a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// maxFaults bounds what a file of nothing but faults can cost its reader.
const maxFaults = 1000

// faultList gathers the faults of one file while it is read.
type faultList struct{ found Faults }

func (l *faultList) add(line int, key, format string, args ...any) {
	if !l.full() {
		l.found = append(l.found, Fault{Line: line, Key: key, Msg: fmt.Sprintf(format, args...)})
	}
}

func (l *faultList) full() bool { return len(l.found) >= maxFaults }

// err is the list as the error of Parse: in the order of the lines, each with the section that it is in.
func (l *faultList) err(file string, sections []section) error {
	if len(l.found) == 0 {
		return nil
	}
	slices.SortStableFunc(l.found, func(a, b Fault) int { return a.Line - b.Line })
	for i := range l.found {
		f := &l.found[i]
		f.File = file
		if n := sectionAt(sections, f.Line); n >= 0 {
			f.Section, f.Peer = sections[n].name, sections[n].peer
			if name := sections[n].over.origin.Name; name != "" {
				f.Peer = Shown(name)
			}
		}
	}
	if l.full() {
		l.found = append(l.found, Fault{File: file, Msg: "too many faults; the rest is not shown"})
	}
	return l.found
}

// sectionAt is the index of the section that a line is in, or -1 before the first.
func sectionAt(sections []section, line int) int {
	n, _ := slices.BinarySearchFunc(sections, line+1, func(s section, line int) int { return s.line - line })
	return n - 1
}

// bad is a value and what is wrong with it. What looks like a key is not shown.
func bad(value, format string, args ...any) error {
	return fmt.Errorf("%q: "+format, append([]any{Shown(value)}, args...)...)
}
