package apply

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"wg-kube/templates/wgquick"
)

// zeros never ends.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestFilesThatAreTooLong(t *testing.T) {
	if b, err := readAll("x", io.LimitReader(zeros{}, wgquick.MaxSize), 0); err != nil || len(b) != wgquick.MaxSize {
		t.Errorf("the longest that is read: %d bytes, %v", len(b), err)
	}
	// It was short enough when it was opened. Its first part alone may be a valid file with fewer peers.
	if _, err := readAll("x", zeros{}, 0); err == nil || !strings.HasPrefix(err.Error(), "x: more than") {
		t.Errorf("one that is longer: %v", err)
	}
	path := filepath.Join(t.TempDir(), "wg0.conf")
	write(t, path, "[Interface]\n")
	must(t, os.Truncate(path, wgquick.MaxSize+1))
	if err := Check(path, false); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("checked: %v", err)
	}
}

// A key in a comment over a peer, or as the name of a table, is no fault of its own; what names them does not show it.
func TestCheckShowsNoKey(t *testing.T) {
	key, err := wgquick.NewPrivateKey()
	must(t, err)
	h := newHouse(t)
	file := "[Interface]\nTable = " + key.Reveal() + "\n# origin: Node/" + key.Reveal() + "\n[Peer]\nPublicKey = " + peer(1).PublicKey.String() +
		"\nAllowedIPs = 10.0.0.0/8\nEndpoint = 10.0.0.1:1\n"
	h.write(t, h.inForce("wg0"), file)
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	_, err = h.Preview(t.Context(), "wg0")
	if err == nil || !strings.Contains(err.Error(), `Table: "(hidden)"`) {
		t.Errorf("the preview: %v", err)
	}
	h.write(t, h.inForce("wg0"), strings.Replace(file, "Table", "#", 1))
	l := h.look(t, i, true)
	said, err := l.status.Marshal()
	must(t, err)
	for _, text := range []string{h.log.String(), string(said), i.files.inForce.config.Peers[0].Origin.String()} {
		if strings.Contains(text, key.Reveal()[:12]) {
			t.Errorf("it is shown: %s", text)
		}
	}
	if len(l.status.Refused) != 1 || !strings.Contains(l.status.Refused[0], "[Peer] "+peer(1).PublicKey.String()) {
		t.Errorf("who is meant: %q", l.status.Refused)
	}
}
