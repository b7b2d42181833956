package live

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// report is the table of what was lost.
type report struct{ rows []string }

func (r *report) add(what string, turns int, l loss) {
	r.rows = append(r.rows, fmt.Sprintf("| %s | %d | %d | %d | %d | %d |",
		what, turns, l.sent(), l.toHub.Lost, l.through.Lost, l.control.Lost))
}

func (r *report) String() string {
	return "| change on the hub | times | packets | lost to the hub | lost through the hub | lost by the control |\n" +
		"|---|--:|--:|--:|--:|--:|\n" + strings.Join(r.rows, "\n") + "\n"
}

const lossFile = "../../docs/loss.md"

const lossHead = `# What a change costs those it does not concern

A spoke sends 1000 packets a second to the hub, and as many to another spoke through the hub, while the hub is
changed through its file or behind wg-apply's back. The control is the same between other hosts, measured at the
same time, where nothing is changed: what is lost beside it alone counts, what both lose in the same ten changes is
measured again, five times at most. Where something was lost the hundred were made twice, and no kind lost twice. wg-quick
and wg are Debian's.

Measured by ` + "`go test ./apply/live -run NothingLost -within=1h -update`" + `.
`

// The sections of the file, one for each kind of device.
var lossTitles = []string{"## wg-device", "## WireGuard in the kernel (User-mode Linux, one CPU)"}

// publish shows the table, and with -update writes it down.
func (r *report) publish(t *testing.T, kernel bool) {
	t.Helper()
	t.Logf("what was lost:\n%s", r)
	if !*update || t.Failed() {
		return
	}
	old, _ := os.ReadFile(lossFile)
	text := lossHead
	for i, title := range lossTitles {
		_, section, _ := strings.Cut(string(old), title+"\n")
		section, _, _ = strings.Cut(section, "\n## ")
		if kernel == (i == 1) {
			section = "\n" + r.String()
		}
		text += "\n" + title + "\n" + strings.TrimRight(section, "\n") + "\n"
	}
	must(t, os.WriteFile(lossFile, []byte(text), 0o644))
}
