package overlay

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"wg-kube/templates/wgquick"
)

// Rejection is one claim that was not granted, or that is still waited for.
type Rejection struct {
	Origin  wgquick.Origin
	Cause   Cause  // of one that waits it means nothing
	Field   string // the annotation without the prefix, or what else its source calls it; "" for the object as a whole
	Value   string // what was claimed, as it came; never a secret
	Reason  string
	Waiting bool // nothing is wrong, something is not there yet
}

// Cause is the reason in one word, for those that count.
type Cause string

// What the reasons come down to. Metrics have these words.
const (
	Malformed Cause = "malformed" // it cannot be read
	Never     Cause = "never"     // nobody is granted it
	Excluded  Cause = "excluded"  // by our own flags, or for the sake of the API server
	Held      Cause = "held"      // by another, or by this node
	Loop      Cause = "loop"      // an endpoint would lie inside the tunnel
	TooMuch   Cause = "too-much"  // for one object, or beside what others have
)

const (
	maxValue   = 80  // bytes of a value that String shows
	maxReason  = 240 // bytes of a reason that String shows
	maxRefused = 100 // lines of a file that say who was refused
	maxPerNode = 8   // prefixes of one Node, or of another object, that are refused one by one; the others are counted
)

// String is one line of printable ASCII: ORIGIN: FIELD "VALUE": REASON.
func (r Rejection) String() string {
	origin := r.Origin.String()
	if !plain(r.Origin.Name) {
		origin = r.Origin.Kind + "/" + quote(r.Origin.Name)
	}
	return origin + ": " + r.Claim()
}

// Claim is String without the origin.
func (r Rejection) Claim() string {
	var what []string
	if r.Field != "" {
		what = append(what, r.Field)
	}
	if r.Value != "" {
		what = append(what, quote(r.Value))
	}
	reason := oneLine(r.Reason, maxReason)
	if len(what) == 0 {
		return reason
	}
	return strings.Join(what, " ") + ": " + reason
}

// sorted orders rejections for the file and for people, and drops repetitions.
func sorted(rs []Rejection) []Rejection {
	slices.SortFunc(rs, func(a, b Rejection) int {
		return cmp.Or(
			cmp.Compare(a.Origin.Name, b.Origin.Name),
			cmp.Compare(a.Origin.Kind, b.Origin.Kind),
			cmp.Compare(a.Origin.UID, b.Origin.UID),
			cmp.Compare(a.Field, b.Field),
			cmp.Compare(a.Value, b.Value),
			cmp.Compare(a.Reason, b.Reason))
	})
	return slices.Compact(rs)
}

// refusedLines is what the file says of rejections: never more than a person reads.
func refusedLines(rs []Rejection) []string {
	var lines []string
	for i, r := range rs {
		if i == maxRefused {
			return append(lines, fmt.Sprintf("and %d more", len(rs)-i))
		}
		lines = append(lines, r.String())
	}
	return lines
}

// fewer keeps one Node from filling the file with its refusals: the first few, in order, then a count.
func fewer(rs []Rejection) []Rejection {
	if rs = sorted(rs); len(rs) <= maxPerNode {
		return rs
	}
	more := Rejection{Origin: rs[0].Origin, Cause: TooMuch, Field: rs[0].Field}
	more.Reason = fmt.Sprintf("and %d more that are refused", len(rs)-maxPerNode)
	return append(rs[:maxPerNode:maxPerNode], more)
}

// discreet is r without what somebody may have put where it does not belong, or where a public key does. A whole key in
// the place of one is said to be public; not so in a Secret.
func (r Rejection) discreet() Rejection {
	_, err := wgquick.ParseSecretKey(r.Value)
	inPlace := r.Origin.Kind != KindSecret && (r.Field == AnnotationPublicKey || r.Field == peerWords.publicKey)
	if err != nil || !inPlace {
		seen := r.Value[:min(len(r.Value), 2*maxValue)] // as far as what begins in what is shown can be a key; the rest may be a megabyte
		r.Value = wgquick.HideKeys(seen)
	}
	return r
}

// quote shows a value from outside: whatever it holds, the result is printable and short.
func quote(s string) string {
	if len(s) > maxValue {
		return strconv.QuoteToASCII(s[:maxValue]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

// oneLine is a text from outside as a comment can hold it: single blanks, what is no printable ASCII as in a quoted
// string, at most limit bytes.
func oneLine(s string, limit int) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t\r\n", r) }), " ")
	var b strings.Builder
	for _, r := range s {
		if r >= ' ' && r <= '~' {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	s = b.String()
	if len(s) > limit {
		s = strings.TrimSpace(s[:limit]) + "..."
	}
	return s
}

// plain reports whether s can be a name in a comment that is read back: the characters of Kubernetes and file names,
// with a namespace or without.
func plain(s string) bool {
	namespace, name, ok := strings.Cut(s, "/")
	return plainWord(s) || ok && plainWord(namespace) && plainWord(name)
}

func plainWord(s string) bool {
	return s != "" && len(s) <= 253 && strings.IndexFunc(s, func(r rune) bool {
		alnum := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		return !alnum && !strings.ContainsRune("-._:@+", r)
	}) < 0
}
