package command

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wg-kube/internal/lab"
)

func TestRecord(t *testing.T) {
	for name, c := range map[string]struct{ dns, want string }{
		"nothing":               {"", ""},
		"one resolver":          {"1.1.1.1", "nameserver 1.1.1.1\n"},
		"two families":          {"1.1.1.1 2606:4700::1111", "nameserver 1.1.1.1\nnameserver 2606:4700::1111\n"},
		"with domains":          {"1.1.1.1 a.example 9.9.9.9 b.example", "nameserver 1.1.1.1\nnameserver 9.9.9.9\nsearch a.example b.example\n"},
		"domains alone":         {"a.example", ""},
		"a digit makes no IP":   {"1.1.1.1 4.example", "nameserver 1.1.1.1\nsearch 4.example\n"},
		"digits and dots alone": {"1", "nameserver 1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Record(strings.Fields(c.dns)); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestPrefixIn(t *testing.T) {
	for name, c := range map[string]struct{ order, want string }{
		"empty":                   {"", ""},
		"Debian's":                {"# comment\nlo.inet6\nlo.inet\nlo.@(dnsmasq|pdnsd)\nlo.!(pdns|pdns-recursor)\nlo\ntun*\ntap*\neth*\n", "tun."},
		"none that ends in *":     {"lo\neth0\n", ""},
		"a character too many":    {"br_*\nwlan*", "wlan."},
		"no newline at the end":   {"hso*", "hso."},
		"blanks around":           {"  ppp*  \n", "ppp."},
		"a star in the middle":    {"a*b\n*\n", ""},
		"the first is the one":    {"lo.\nb*\na*\n", "b."},
		"a minus is as a letter":  {"a-b*\n", "a-b."},
		"a dot is not":            {"@(br|en).*\n", ""},
		"nothing in front of the": {"*\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			if got := prefixIn(c.order); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestEnviron(t *testing.T) {
	ours := []string{"PATH=/bin", "LC_ALL=de_DE", "NOTIFY_SOCKET=/run/x", "WG_HIDE_KEYS=never", "WATCHDOG_USEC=1", "NOTIFY=1"}
	want := []string{"PATH=/bin", "WG_HIDE_KEYS=never", "NOTIFY=1", "LC_ALL=C"}
	if d := cmp.Diff(want, environ(ours)); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// runner logs without times.
func runner(t *testing.T) (Runner, *lab.Log) {
	t.Helper()
	l := &lab.Log{}
	noTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	return Runner{Iface: "wg7", File: "/etc/wireguard/wg7.conf",
		Log: slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: noTime}))}, l
}

func TestHooks(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/ours")
	ours, err := os.Create(filepath.Join(t.TempDir(), "ours"))
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	t.Setenv("OURS", ours.Name())
	for name, c := range map[string]struct {
		hook string
		out  string // what it writes to $OUT
		err  string // a part of the error; empty: none
	}{
		"the interface":           {"echo %i $INTERFACE $CONFIG_FILE >$OUT", "wg7 wg7 /etc/wireguard/wg7.conf\n", ""},
		"every %i":                {"echo %i-%i%%i >$OUT", "wg7-wg7%wg7\n", ""},
		"quotes stay":             {`printf '%s|' "a b" 'c "d"' $'e\tf' >$OUT`, "a b|c \"d\"|e\tf|", ""},
		"bash it is":              {`a=(1 2 3); [[ ab == @(ab|cd) ]] && echo ${#a[@]} >$OUT`, "3\n", ""},
		"no arguments":            {"echo $# >$OUT", "0\n", ""},
		"a comment":               {"echo 1 >$OUT # 2", "1\n", ""},
		"nothing to read":         {"cat >$OUT", "", ""},
		"not our service manager": {"echo ${NOTIFY_SOCKET-none} $LC_ALL >$OUT", "none C\n", ""},
		"no descriptor of ours":   {"ls -l /proc/$$/fd | grep -c $OURS >$OUT || true", "0\n", ""},
		"the exit code":           {"exit 3", "", "exit status 3"},
		"errexit":                 {"false; echo on >$OUT", "", "exit status 1"},
		"pipefail":                {"false | true; echo on >$OUT", "", "exit status 1"},
		"what it said last":       {"echo one; echo two >&2; exit 4", "", "exit status 4: two"},
		"no bash":                 {"if then", "", "syntax error"},
		"unset is no error":       {"echo $nosuch >$OUT", "\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			t.Setenv("OUT", out)
			r, _ := runner(t)
			err := r.Hooks(t.Context(), "PostUp", []string{c.hook})
			switch {
			case c.err == "" && err != nil:
				t.Error(err)
			case c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !strings.HasPrefix(err.Error(), "/etc/wireguard/wg7.conf: PostUp: ")):
				t.Errorf("error %v, want one with %q", err, c.err)
			}
			if b, _ := os.ReadFile(out); string(b) != c.out {
				t.Errorf("%q, want %q", b, c.out)
			}
		})
	}
}

func TestHooksLogWhatTheyRunAndSay(t *testing.T) {
	r, l := runner(t)
	if err := r.Hooks(t.Context(), "PreUp", []string{"echo one; echo; echo two", "true", "echo three >&2; false", "echo never"}); err == nil {
		t.Error("a hook that fails is no error")
	}
	want := `level=INFO msg=run op="PreUp echo one; echo; echo two"
level=INFO msg=said op=PreUp line=one
level=INFO msg=said op=PreUp line=two
level=INFO msg=run op="PreUp true"
level=INFO msg=run op="PreUp echo three >&2; false"
level=INFO msg=said op=PreUp line=three
`
	if d := cmp.Diff(want, l.String()); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

func TestHooksThatHang(t *testing.T) {
	r, _ := runner(t)
	r.Limit = 300 * time.Millisecond
	pid := filepath.Join(t.TempDir(), "pid")
	began := time.Now()
	err := r.Hooks(t.Context(), "PostUp", []string{"sleep 60 & echo $! >" + pid + "; wait"})
	if err == nil || !strings.Contains(err.Error(), "ended after 300ms") || time.Since(began) > 10*time.Second {
		t.Errorf("after %s: %v", time.Since(began), err)
	}
	b, _ := os.ReadFile(pid)
	for n := 0; ; n++ {
		stat, err := os.ReadFile("/proc/" + strings.TrimSpace(string(b)) + "/stat")
		if err != nil || strings.Contains(string(stat), ") Z ") {
			break
		}
		if n > 100 {
			t.Fatal("what it started is left")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestHooksThatLeaveSomethingBehind(t *testing.T) {
	r, l := runner(t)
	began := time.Now()
	if err := r.Hooks(t.Context(), "PostUp", []string{"(sleep 1; echo late) &"}); err != nil || time.Since(began) > 900*time.Millisecond {
		t.Errorf("waited %s: %v", time.Since(began), err)
	}
	for end := time.Now().Add(10 * time.Second); !strings.Contains(l.String(), "line=late"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("what it says later is lost:\n%s", l)
		}
	}
}

func TestHooksThatSayALot(t *testing.T) {
	r, _ := runner(t)
	if err := r.Hooks(t.Context(), "PostUp", []string{"head -c 1000000 /dev/zero | tr '\\0' x"}); err != nil {
		t.Error(err)
	}
}

func TestDNS(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	r, _ := runner(t)
	script := "#!/bin/sh\necho \"$@\" >" + dir + "/args\ncat >" + dir + "/in\nexit $(cat " + dir + "/code)\n"
	write := func(name, content string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("code", "0", 0o600)
	write("resolvconf", script, 0o700)
	said := func() string {
		args, _ := os.ReadFile(dir + "/args")
		in, _ := os.ReadFile(dir + "/in")
		return string(args) + string(in)
	}
	name := resolvconfName("wg7")
	if err := r.SetDNS(t.Context(), "nameserver 1.1.1.1\n"); err != nil || said() != "-a "+name+" -m 0 -x\nnameserver 1.1.1.1\n" {
		t.Errorf("set: %v, %q", err, said())
	}
	if err := r.UnsetDNS(t.Context()); err != nil || said() != "-d "+name+" -f\n" {
		t.Errorf("unset: %v, %q", err, said())
	}
	write("code", "7", 0o600)
	if err := r.SetDNS(t.Context(), "nameserver 1.1.1.1\n"); err == nil || err.Error() != "/etc/wireguard/wg7.conf: DNS: exit status 7" {
		t.Errorf("a failure: %v", err)
	}
	t.Setenv("PATH", "/nonexistent")
	if err := r.SetDNS(t.Context(), "nameserver 1.1.1.1\n"); err == nil || !strings.Contains(err.Error(), "resolvconf is not installed") {
		t.Errorf("not there: %v", err)
	}
}
