package cli

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestRunExitCodes(t *testing.T) {
	root := func() (*cobra.Command, *strings.Builder) {
		r := &cobra.Command{Use: "wg-test"}
		add := func(use string, err error) {
			r.AddCommand(&cobra.Command{Use: use, Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return err }})
		}
		add("fine", nil)
		add("fails", errors.New("wg0: gone"))
		add("two", errors.Join(errors.New("wg0: gone"), errors.New("wg1: gone")))
		add("usage", Usagef("--role: hub or spoke is wanted"))
		add("changes", Exit{Code: Changes})
		flags := r.PersistentFlags()
		flags.Uint16("listen-port", 0, "")
		flags.Duration("settle", 0, "")
		flags.Bool("dns", false, "")
		flags.Func("role", "", func(string) error { return errors.New("hub or spoke is wanted") })
		flags.Func("site", "", func(string) error { return errors.New(`"b": no such site`) })
		var out strings.Builder
		r.SetErr(&out)
		r.SetOut(&out)
		return r, &out
	}
	for _, tc := range []struct {
		name, args string
		code       int
		out        string
	}{
		{"success", "fine", OK, ""},
		{"failure is one line", "fails", Failed, "wg-test: wg0: gone\n"},
		{"two failures are two lines", "two", Failed, "wg-test: wg0: gone\nwg-test: wg1: gone\n"},
		{"usage error of a command", "usage", Usage, "wg-test: --role: hub or spoke is wanted\n"},
		{"silent exit code", "changes", Changes, ""},
		{"unknown command", "nonsense", Usage, "wg-test: unknown command \"nonsense\" for \"wg-test\"\n"},
		{"unknown flag", "fine --nonsense", Usage, "wg-test: unknown flag: --nonsense\n"},
		{"a number out of range", "fine --listen-port 70000", Usage, "wg-test: --listen-port: \"70000\": a number from 0 to 65535 is wanted\n"},
		{"a time without a unit", "fine --settle 5", Usage, "wg-test: --settle: \"5\": a time such as 30s or 100ms is wanted\n"},
		{"neither true nor false", "fine --dns=yes", Usage, "wg-test: --dns: \"yes\": true or false is wanted\n"},
		{"a value of our own", "fine --role both", Usage, "wg-test: --role: \"both\": hub or spoke is wanted\n"},
		{"a part of a value", "fine --site a,b", Usage, "wg-test: --site: \"b\": no such site\n"},
		{"a flag without its value", "fine --settle", Usage, "wg-test: --settle: a value is wanted\n"},
		{"version", "--version", OK, "wg-test version " + Version() + "\n"},
		{"too many arguments", "fine wg0", Usage, "wg-test: unknown command \"wg0\" for \"wg-test fine\"\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, out := root()
			code := Run(r, strings.Fields(tc.args))
			if code != tc.code || out.String() != tc.out {
				t.Errorf("exit %d, wanted %d; printed:\n%s", code, tc.code, cmp.Diff(tc.out, out.String()))
			}
		})
	}
}

func TestFromEnv(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		env  map[string]string
		want string
		err  string
	}{
		{"default", nil, nil, "wg0", ""},
		{"by the rule", nil, map[string]string{"WG_PEERS_DIR": "/p"}, "wg0 /p", ""},
		{"by its own name", nil, map[string]string{"NODE_NAME": "n"}, "wg0 n", ""},
		{"the command line wins", []string{"--interface=wg1"}, map[string]string{"WG_INTERFACE": "wg2"}, "wg1", ""},
		{"empty is not set", nil, map[string]string{"WG_INTERFACE": " "}, "wg0", ""},
		{"bad value names the variable", nil, map[string]string{"WG_MTU": "big"}, "", `WG_MTU: "big": a number is wanted`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fs := pflag.NewFlagSet("t", pflag.ContinueOnError)
			iface := fs.String("interface", "wg0", "")
			peers := fs.String("peers-dir", "", "")
			node := fs.String("node-name", "", "")
			fs.Int("mtu", 0, "")
			if err := fs.Parse(tc.args); err != nil {
				t.Fatal(err)
			}
			err := FromEnv(fs, map[string]string{"node-name": "NODE_NAME"}, func(k string) string { return tc.env[k] })
			if tc.err != "" {
				if err == nil || !strings.HasPrefix(err.Error(), tc.err) {
					t.Fatalf("error %v, wanted one that begins with %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(strings.Fields(*iface+" "+*peers+" "+*node), " "); got != tc.want {
				t.Errorf("got %q, wanted %q", got, tc.want)
			}
		})
	}
}
