package bench

import (
	"fmt"
	"os"
	"strings"

	"wg-kube/internal/atomicfile"
)

// Refresh puts text between the two marks of a section, <!-- NAME --> and <!-- end of NAME -->, of the page at path.
// The rest of the page is a person's.
func Refresh(path, section, text string) error {
	page, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	fresh, err := replace(string(page), section, text)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	_, err = atomicfile.WriteIfChanged(path, []byte(fresh), 0o644)
	return err
}

func replace(page, section, text string) (string, error) {
	begin, end := "<!-- "+section+" -->\n", "<!-- end of "+section+" -->\n"
	before, rest, found := strings.Cut(page, begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return "", fmt.Errorf("no section between %q and %q", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + begin + text + end + after, nil
}
