package apply

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

func TestKeys(t *testing.T) {
	keys := Keys{filepath.Join(t.TempDir(), "keys", "wg0")}
	none, err := keys.Current(wgquick.SecretKey{}, wgquick.PublicKey{})
	if err != nil || !none.IsZero() {
		t.Fatalf("before there is any: %v, %v", none, err)
	}
	first, err := keys.Make()
	must(t, err)
	if got := mode(t, keys.Dir); got != 0o700 {
		t.Errorf("the folder has mode %o", got)
	}
	if got := mode(t, keys.path(first.Public())); got != 0o600 {
		t.Errorf("the key has mode %o", got)
	}
	second, err := keys.Make()
	must(t, err)
	old := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(keys.path(second.Public()), old, old))

	current := func(inForce wgquick.SecretKey, published wgquick.PublicKey) wgquick.SecretKey {
		t.Helper()
		k, err := keys.Current(inForce, published)
		must(t, err)
		return k
	}
	if current(wgquick.SecretKey{}, wgquick.PublicKey{}) != first {
		t.Error("without more to go by it is the newest")
	}
	if current(wgquick.SecretKey{}, second.Public()) != second {
		t.Error("the one whose public half was published comes before the newest")
	}
	if current(first, second.Public()) != first {
		t.Error("the one in the file in force comes before all")
	}
	if !current(wgquick.SecretKey{}, key(1)).IsZero() {
		t.Error("another one is taken for a published one that is lost")
	}
	before, err := os.ReadFile(keys.path(first.Public()))
	must(t, err)
	must(t, keys.Keep(first))
	if after, _ := os.ReadFile(keys.path(first.Public())); string(after) != string(before) {
		t.Error("a key that is there was written again")
	}
}

func TestKeysOfOthers(t *testing.T) {
	keys := Keys{filepath.Join(t.TempDir(), "keys")}
	k, err := keys.Make()
	must(t, err)
	must(t, os.Chmod(keys.path(k.Public()), 0o666))
	if _, err := keys.Current(wgquick.SecretKey{}, wgquick.PublicKey{}); err == nil || !strings.Contains(err.Error(), "mode 0666") {
		t.Errorf("a key that anybody may write is taken: %v", err)
	}
	must(t, os.Remove(keys.path(k.Public())))
	must(t, os.Symlink("/etc/passwd", keys.path(k.Public())))
	if _, err := keys.Current(wgquick.SecretKey{}, k.Public()); err == nil {
		t.Error("a link is taken for a key")
	}
}

// The folder of everything is gone for a while, as when a volume is not mounted. The device still has its key: no other
// one is made, which no peer knows.
func TestAKeyOutlivesItsFolder(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	was := h.status(t, "wg0").PublicKey
	away := h.Dir + ".away"
	must(t, os.Rename(h.Dir, away))
	must(t, os.Mkdir(h.Dir, 0o700))
	_, err := h.Keys("wg0").Make() // an older one that is not the last
	must(t, err)
	for _, again := range []*iface{i, h.newIface("wg0", func() {})} {
		h.look(t, again, true)
		if s := h.status(t, "wg0"); s.PublicKey != was || h.kernel.live["wg0"].PrivateKey.Public() != was || again.files.inForce.config.Interface.PrivateKey.Public() != was {
			t.Errorf("another key: %+v", s)
		}
		if _, err := h.Keys("wg0").load(h.Keys("wg0").path(was)); err != nil {
			t.Errorf("it is not kept: %v", err)
		}
	}

	must(t, os.RemoveAll(h.Dir))
	must(t, os.RemoveAll(h.RunDir))
	must(t, h.prepare())
	h.look(t, h.newIface("wg0", func() {}), true)
	if got := h.kernel.live["wg0"].PrivateKey.Public(); got != was {
		t.Error("another key, where nothing is remembered")
	}

	must(t, os.RemoveAll(h.Dir))
	must(t, h.prepare())
	must(t, h.kernel.Delete(t.Context(), "wg0"))
	i = h.newIface("wg0", func() {})
	if l := h.look(t, i, true); l.err == nil || !strings.HasSuffix(l.err.Error(), "Bring it back: wg-apply keygen wg0 --import FILE, or get another: wg-apply keygen wg0") || isThere(h.Keys("wg0").Dir) || h.status(t, "wg0").PublicKey != was {
		t.Errorf("where it is nowhere any more, another one is made without a person: %v", l.err)
	}
	now, err := h.Keygen(t.Context(), "wg0", "")
	must(t, err)
	if h.look(t, i, true); now == was || h.kernel.live["wg0"].PrivateKey.Public() != now {
		t.Errorf("what keygen made is not taken: %s", now)
	}
}

// The one line that a person may edit in a file that wg-apply wrote: no proposal has it, so none takes it back.
func TestAnotherKeyIsWrittenIntoTheFile(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	was := h.status(t, "wg0").PublicKey
	another, err := wgquick.NewPrivateKey()
	must(t, err)
	b, err := os.ReadFile(h.inForce("wg0"))
	must(t, err)
	b = regexp.MustCompile(`(?m)^PrivateKey = .*`).ReplaceAll(b, []byte("PrivateKey = "+another.Reveal()))
	h.write(t, h.inForce("wg0"), string(b))
	for _, last := range []int{2, 3} { // with proposals that go on
		h.write(t, h.proposal("wg0"), rendered(t, 1, last))
		h.look(t, i, true)
		s, live := h.status(t, "wg0"), h.kernel.live["wg0"]
		if s.PublicKey == was || s.PublicKey != another.Public() || live.PrivateKey != another {
			t.Errorf("with peers 1 to %d: published %v, on the device %v", last, s.PublicKey, live.PrivateKey.Public())
		}
	}
}

// What the device has is the key that is lost only if it is the one that was published.
func TestAnotherKeyOnTheDevice(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	was := h.status(t, "wg0").PublicKey
	other, err := wgquick.NewPrivateKey()
	must(t, err)
	h.kernel.change("wg0", func(l *plan.Live) { l.PrivateKey = other })
	must(t, os.RemoveAll(h.Dir))
	must(t, h.prepare())
	if l := h.look(t, i, true); !errors.Is(l.err, errKeyLost) || isThere(h.Keys("wg0").Dir) || isThere(h.inForce("wg0")) || h.status(t, "wg0").PublicKey != was {
		t.Errorf("it is taken: %v", l.err)
	}
}

func TestWhatIsHeldOutlivesItsFolder(t *testing.T) {
	h := newHouse(t, "wg0")
	h.write(t, h.proposal("wg0"), rendered(t, 1, 2, 3, 4, 5, 6))
	i := h.newIface("wg0", func() {})
	h.look(t, i, true)
	h.write(t, h.proposal("wg0"), rendered(t, 1))
	for n, when := range []string{"dropped", "and the folder is gone"} {
		if n > 0 {
			must(t, os.RemoveAll(h.Dir))
			must(t, os.Mkdir(h.Dir, 0o700))
		}
		if l := h.look(t, i, true); l.err != nil || len(l.status.Held) != 5 || h.kernel.peers("wg0") != 6 {
			t.Errorf("%s: %v, %d held, %d peers", when, l.err, len(l.status.Held), h.kernel.peers("wg0"))
		}
	}
}

func TestReadKey(t *testing.T) {
	key, err := wgquick.NewPrivateKey()
	must(t, err)
	for name, content := range map[string]string{
		"as wg genkey writes it": key.Reveal() + "\n",
		"without newline":        key.Reveal(),
	} {
		path := filepath.Join(t.TempDir(), "key")
		write(t, path, content)
		if got, err := ReadKey(path); err != nil || got != key {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, content := range map[string]string{
		"empty": "", "two keys": key.Reveal() + "\n" + key.Reveal(), "cut short": key.Reveal()[:40],
		"the zero key": wgquick.SecretKey{}.Reveal(),
	} {
		path := filepath.Join(t.TempDir(), "key")
		write(t, path, content)
		_, err := ReadKey(path)
		if err == nil {
			t.Errorf("%s: taken", name)
		} else if strings.Contains(err.Error(), key.Reveal()[:40]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	fi, err := os.Stat(path)
	must(t, err)
	return fi.Mode().Perm()
}
