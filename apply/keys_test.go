package apply

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	if current(wgquick.SecretKey{}, key(1)) != first {
		t.Error("a published one that is lost leaves the newest")
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
