package wgquick

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// section is one header of the file and what was found with it.
type section struct {
	line int
	name string // "Interface", "Peer"; "" is a section that nobody knows
	peer string // how faults name the peer
	over commentsOver
}

// checked is a file whose every line has been looked at.
type checked struct {
	// normal is the file without the lines that are at fault, in a form that ini.v1 cannot misread:
	// headers and keys spelled as in the table, each value in quotes after the number of its line.
	// It begins with a digit and ends with a quote, so that nothing is unquoted, continued or trimmed.
	normal   []byte
	sections []section // one for each header in normal
	head     []string
	refused  []string
	cut      bool // the rest is not worth reading, nor is what came before it
}

// checker walks the lines of a file and refuses those that wg or wg-quick would refuse, or would misunderstand.
type checker struct {
	checked
	allow  Allow
	faults *faultList

	over    commentsOver // since the last line that was no comment
	peers   int          // [Peer] sections so far
	keyless int          // line of the current [Peer] while it has no PublicKey
	shut    bool         // in a section that may not be there: its keys are not worth a fault each
}

// blanks are what C calls white space, without the newline.
const blanks = " \t\v\f\r"

// maxLines is more than 100,000 peers need. It bounds the memory that a file can cost: a header of
// seven bytes takes ini.v1 a kilobyte.
const maxLines = 1 << 20

const byteOrderMark = "\ufeff"

func check(text string, a Allow, faults *faultList) checked {
	c := checker{allow: a, faults: faults}
	c.normal = make([]byte, 0, len(text)+len(text)/4)
	c.sections = make([]section, 0, min(strings.Count(text, "["), 1<<16))
	if strings.HasPrefix(text, byteOrderMark) {
		faults.add(1, "", "begins with a byte order mark; save the file without one")
		text = text[len(byteOrderMark):]
	}
	n := 0
	for line := range strings.SplitSeq(text, "\n") {
		if n++; faults.full() || c.cut {
			break
		}
		if n > maxLines {
			faults.add(n, "", "more than %d lines; the rest is not read", maxLines)
			c.cut = true
			break
		}
		c.line(n, line)
	}
	c.endPeer()
	if len(c.sections) == 0 {
		c.refused = nil // there is no last peer that they could follow: they are in head
	}
	return c.checked
}

func (c *checker) line(n int, line string) {
	if strings.IndexByte(line, 0) >= 0 || !utf8.ValidString(line) {
		c.faults.add(n, "", "not text: the line has bytes that are not UTF-8")
		c.shut = c.shut || strings.HasPrefix(strings.TrimLeft(line, blanks), "[") // whose keys follow, is not known
		return
	}
	code, comment, commented := strings.Cut(line, "#")
	code = strings.Trim(code, blanks)
	switch {
	case code == "" && commented:
		c.comment(comment)
	case code == "":
	case code[0] == '[':
		c.header(n, code)
	default:
		c.setting(n, line, code)
	}
}

func (c *checker) comment(s string) {
	text, ok := commentText(s)
	if !ok {
		return
	}
	if len(c.sections) == 0 {
		c.head = append(c.head, text)
	}
	if why, ok := refusedIn(text); ok {
		c.refused = append(c.refused, why)
	}
	c.over.read(text)
}

func (c *checker) header(n int, code string) {
	c.endPeer()
	over := c.over
	c.over, c.refused = commentsOver{}, nil

	s := section{line: n}
	var after string
	switch s.name, after = sectionNamed(code); {
	case s.name == "":
		c.faults.add(n, "", "no such section: there are [Interface] and [Peer]")
	case after != "":
		c.faults.add(n, "", "text after the section's header")
	case s.name == "Interface" && len(code) > len("[Interface]"):
		c.faults.add(n, "", "white space in the header: wg-quick does not know it as [Interface]")
	}
	allowed := c.allow.of(s.name)
	empty := allowed != nil && len(allowed) == 0
	if empty {
		c.faults.add(n, "", "this section may not stand here")
	}
	c.shut = empty || s.name == ""

	if s.name == "Peer" {
		if c.peers++; c.allow.Peers > 0 && c.peers > c.allow.Peers {
			c.faults.add(n, "", "more than %d peers, which --max-peers allows; the rest is not read", c.allow.Peers)
			c.cut = true
			return
		}
		s.over, s.peer = over, over.origin.Name
		if len(c.sections) == 0 {
			c.head = slices.DeleteFunc(c.head, func(text string) bool { return new(commentsOver).read(text) })
		}
		if !c.shut {
			c.keyless = n
		}
	}
	if last := len(c.sections) - 1; last >= 0 && s.name == "Interface" && c.sections[last].name == s.name {
		return // the same section goes on
	}
	c.sections = append(c.sections, s)
	c.normal = append(append(append(c.normal, '['), cmp.Or(s.name, "unknown")...), "]\n"...)
}

// sectionNamed is the name in a header as the table spells it, or "", and what follows the header.
// wg minds neither case nor white space.
func sectionNamed(code string) (name, after string) {
	code = squeeze(code)
	for _, name := range []string{"Interface", "Peer"} {
		want := "[" + name + "]"
		if len(code) >= len(want) && strings.EqualFold(code[:len(want)], want) {
			return name, code[len(want):]
		}
	}
	return "", ""
}

// endPeer is where a peer that never said who it is comes to light.
func (c *checker) endPeer() {
	if c.keyless > 0 {
		c.faults.add(c.keyless, "PublicKey", "missing: it says who the peer is")
	}
	c.keyless = 0
}

// setting checks a line that should be "Key = value". code is the line without comment and outer white space.
func (c *checker) setting(n int, line, code string) {
	c.over, c.refused = commentsOver{}, nil
	if c.shut {
		return
	}
	if code[0] == ';' {
		c.faults.add(n, "", "a comment begins with #, not with ;")
		return
	}
	name, value, ok := strings.Cut(code, "=")
	if !ok {
		c.faults.add(n, "", "not of the form Key = value")
		return
	}
	name = strings.TrimRight(name, blanks)
	if len(c.sections) == 0 {
		c.faults.add(n, showable(name), "stands before the first section")
		return
	}
	in := c.sections[len(c.sections)-1].name
	k := find(in, name)
	if k == nil {
		why := "no such key"
		for _, other := range []string{"Interface", "Peer"} {
			if find(other, name) != nil {
				why = "belongs under [" + other + "]"
			}
		}
		c.faults.add(n, showable(name), "%s", why)
		return
	}
	if k.name == "PublicKey" {
		c.keyless = 0 // if it is no good, that is a fault of its own
	}
	if allowed := c.allow.of(in); allowed != nil && !slices.Contains(allowed, k.name) {
		c.faults.add(n, k.name, "may not be said here")
		return
	}
	switch k.form {
	case tight:
		value = squeeze(value)
		if value == "" {
			c.faults.add(n, k.name, "has no value")
			return
		}
	case loose:
		value = strings.TrimLeft(value, blanks)
	case hook:
		_, value, _ = strings.Cut(line, "=")
		value = strings.Trim(value, blanks)
	}
	c.normal = append(append(c.normal, k.name...), " = "...)
	c.normal = append(strconv.AppendInt(c.normal, int64(n), 10), ` "`...)
	c.normal = append(append(c.normal, value...), "\"\n"...)
}

// of is the list for a section.
func (a Allow) of(section string) []string {
	switch section {
	case "Interface":
		return a.Interface
	case "Peer":
		return a.Peer
	}
	return nil
}

// squeeze takes all white space out.
func squeeze(s string) string {
	s = strings.Trim(s, blanks)
	if !strings.ContainsAny(s, blanks) {
		return s // nearly always
	}
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(blanks, r) {
			return -1
		}
		return r
	}, s)
}

// showable is the name of an unknown key, or "" if it may be something else: a line that begins with the
// base64 of a private key reads as one, because of its last "=".
func showable(name string) string {
	const longest = len("PersistentKeepalive") + 4
	for _, r := range name {
		if !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || r == ' ') || len(name) > longest {
			return ""
		}
	}
	return name
}
