package wgquick

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
)

// endMark begins the last line of a file that its writer completed. The hash is over all bytes before that line:
// a wg-quick file that was cut off is a good file with fewer peers, and nothing else would tell.
const endMark = "# end sha256:"

// Complete reports whether the last line of b is an end mark that holds, without parsing the rest.
func Complete(b []byte) bool {
	_, ok := splitEndMark(b)
	return ok
}

// splitEndMark takes an end mark that holds off b.
func splitEndMark(b []byte) (body []byte, ok bool) {
	start := bytes.LastIndexByte(bytes.TrimSuffix(b, []byte("\n")), '\n') + 1
	mark := bytes.TrimSuffix(b[start:], []byte("\n"))
	if !bytes.HasPrefix(mark, []byte(endMark)) || !bytes.Equal(mark, markFor(b[:start])) {
		return b, false
	}
	return b[:start], true
}

// markFor is the end mark for body, without a newline.
func markFor(body []byte) []byte {
	sum := sha256.Sum256(body)
	return hex.AppendEncode([]byte(endMark), sum[:])
}
