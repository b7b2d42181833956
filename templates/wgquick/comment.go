package wgquick

import (
	"net/netip"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// What comments say that Parse reads back. Any other comment, and one that is not quite of this form, is only a comment.
//
//	# origin: KIND/NAME UID            over a peer; UID may be missing
//	# hub: ...                         over a peer
//	# held: since 2026-11-21T22:00:00Z, ...    over a peer
//	# came while a name had no address: 10.1.0.0/16, 10.2.0.0/16    over a peer
//	# refused: TEXT                    after the last peer
//	# end sha256:HEX                   the last line; see endmark.go
const (
	originMark   = "origin: "
	hubMark      = "hub: "
	heldMark     = "held: since "
	unjudgedMark = "came while a name had no address: "
	refusedMark  = "refused:"
)

// commentsOver is what the comments over a section say about it.
type commentsOver struct {
	origin   Origin
	hub      bool
	held     time.Time
	unjudged []netip.Prefix
}

// read takes one comment and reports whether it was of use.
func (o *commentsOver) read(text string) bool {
	if s, ok := strings.CutPrefix(text, originMark); ok {
		origin, ok := parseOrigin(s)
		if ok {
			o.origin = origin
		}
		return ok
	}
	if strings.HasPrefix(text, hubMark) {
		o.hub = true
		return true
	}
	if s, ok := strings.CutPrefix(text, heldMark); ok {
		if i := strings.IndexAny(s, ", ;"); i >= 0 {
			s = s[:i]
		}
		since, err := time.Parse(time.RFC3339, s)
		since = since.UTC().Truncate(time.Second)
		if err != nil || since.Year() < 1 || since.Year() > 9999 { // the zone can push it out of RFC 3339
			return false
		}
		o.held = since
		return true
	}
	if s, ok := strings.CutPrefix(text, unjudgedMark); ok {
		var all []netip.Prefix
		for one := range strings.SplitSeq(s, ", ") {
			p, err := netip.ParsePrefix(one)
			if err != nil {
				return false
			}
			all = append(all, p)
		}
		o.unjudged = all
		return true
	}
	return false
}

// maxOrigin is more bytes than the kind, name and uid of anything take. Each fault of a peer repeats its name.
const maxOrigin = 1 << 10

func parseOrigin(s string) (Origin, bool) {
	f := strings.Fields(s)
	if len(f) != 1 && len(f) != 2 || len(s) > maxOrigin {
		return Origin{}, false
	}
	kind, name, _ := strings.Cut(f[0], "/")
	o := Origin{Kind: kind, Name: name}
	if len(f) == 2 {
		o.UID = f[1]
	}
	return o, kind != "" && name != ""
}

// refusedIn is the text of a "refused: TEXT" comment.
func refusedIn(text string) (string, bool) {
	s, ok := strings.CutPrefix(text, refusedMark)
	if !ok || s != "" && s[0] != ' ' {
		return "", false
	}
	return strings.TrimPrefix(s, " "), true
}

// commentText is a comment without its "# ". It is false for one that Marshal would not write.
func commentText(afterHash string) (string, bool) {
	text := strings.TrimSuffix(strings.TrimPrefix(afterHash, " "), "\r")
	return text, fitsComment(text)
}

// fitsComment reports whether s, in a comment, stays in its line and looks like what it is: no control characters,
// nothing that reverses the text around it.
func fitsComment(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool {
		return unicode.IsControl(r) && r != '\t' ||
			r > unicode.MaxASCII && unicode.In(r, unicode.Bidi_Control, unicode.Zl, unicode.Zp)
	})
}
