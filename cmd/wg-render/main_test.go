package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"wg-render": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			nodes, err := os.ReadFile("../../testdata/nodes.yaml")
			if err != nil {
				return err
			}
			env.Setenv("WG_PEERS_DIR", env.WorkDir+"/peers.d")
			env.Setenv("WG_RUN_DIR", env.WorkDir+"/run")
			env.Setenv("WG_OUT", env.WorkDir+"/out")
			addr, err := freeAddr()
			if err != nil {
				return err
			}
			env.Setenv("ADDR", addr)
			if err := os.Mkdir(env.WorkDir+"/out", 0o755); err != nil {
				return err
			}
			return os.WriteFile(env.WorkDir+"/nodes.yaml", nodes, 0o644)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"eventually": eventually,
			"get":        get,
			"untouched":  untouched,
			"status":     status,
			"terminate":  terminate,
		},
	})
}

// eventually FILE TEXT waits until a file holds a text, "! eventually FILE TEXT" until it does not.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: [!] eventually FILE TEXT")
	}
	var b []byte
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var err error
		b, err = os.ReadFile(ts.MkAbs(args[0]))
		if err == nil && strings.Contains(string(b), args[1]) != neg {
			return
		}
	}
	ts.Fatalf("never; it holds\n%s", b)
}

// untouched FILE says in the environment which version of the file there is; the next time it must be the same.
func untouched(ts *testscript.TestScript, _ bool, args []string) {
	fi, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	is := fmt.Sprint(fi.Sys())
	if was := ts.Getenv("version"); was != "" && was != is {
		ts.Fatalf("%s was written: %s, then %s", args[0], was, is)
	}
	ts.Setenv("version", is)
}

// status CODE COMMAND... runs a command that must exit with a code.
func status(ts *testscript.TestScript, _ bool, args []string) {
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if err != nil {
		got = strings.TrimPrefix(err.Error(), "exit status ")
	}
	if got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}

// terminate sends SIGTERM to what runs in the background.
func terminate(ts *testscript.TestScript, _ bool, _ []string) {
	for _, cmd := range ts.BackgroundCmds() {
		ts.Check(cmd.Process.Signal(syscall.SIGTERM))
	}
}

// get URL TEXT prints what a web server answers, as soon as it holds a text.
func get(ts *testscript.TestScript, _ bool, args []string) {
	var body []byte
	for end := time.Now().Add(10 * time.Second); !strings.Contains(string(body), args[1]); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("never; the last answer was\n%s", body)
		}
		resp, err := http.Get(args[0])
		if err != nil {
			continue // it does not serve yet
		}
		body, _ = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	_, _ = ts.Stdout().Write(body)
}

// freeAddr is an address that nobody listens on.
func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
