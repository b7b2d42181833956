package main

import (
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata/script")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"wg-apply": main})
}

// TestScript runs the commands as people do. Nothing in the scripts needs a privilege or makes an interface.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		UpdateScripts:       *update,
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("WG_DIR", env.WorkDir+"/etc")
			env.Setenv("WG_PROPOSALS", env.WorkDir+"/proposals")
			env.Setenv("WG_RUN_DIR", env.WorkDir+"/run")
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"fifo": func(ts *testscript.TestScript, neg bool, args []string) {
				ts.Check(unix.Mkfifo(ts.MkAbs(args[0]), 0o600))
			},
			// exits CODE PROGRAM ARGS...: run the program, which has to exit so
			"exits": exits,
		},
		Condition: func(cond string) (bool, error) { return cond == "root" && os.Geteuid() == 0, nil },
	})
}
