package kernel

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"wg-kube/internal/lab"
	"wg-kube/templates/wgquick"
)

// mutations is how many files are made out of those of testdata/parity, beside them.
const mutations = 120

// TestAsWGQuick gives each file to the real wg-quick on one machine and to the real wg-apply on another that is
// like it. Then both machines are the same, in every respect; what wg-quick refuses, wg-apply refuses, with file and
// line, and has changed nothing. What differs by design is in deliberate.
//
// In the same go: what wg-quick has made is adopted as it is, and wg-quick takes it down after that; wg-apply takes
// down what it has made, and nothing is left; and the simulation of a plan foretells what the kernel makes of it.
func TestAsWGQuick(t *testing.T) {
	lab.Need(t)
	t.Setenv("WG_ENDPOINT_RESOLUTION_RETRIES", "0")
	p := parity{program: lab.Build(t, "wg-kube/cmd/wg-apply"), env: hostEnv(t), before: map[string]state{}}
	files := parityFiles(t)
	files = append(files, mutants(files, mutations)...)
	for _, f := range files {
		if p.before[f.world] == nil {
			h := lab.NewHost(t, "before")
			h.Run(t, "sh", "-ec", f.world)
			p.before[f.world] = stateOf(t, h)
		}
	}
	all := len(files)
	if userModeLinux() {
		files = fraction(files)
		t.Logf("one file in ten, %d, since this is the User-mode Linux", len(files))
	}
	var tried atomic.Int64
	t.Run("files", func(t *testing.T) {
		for _, f := range files {
			t.Run(f.name, func(t *testing.T) {
				t.Parallel()
				tried.Add(1)
				p.compare(t, f)
				if t.Failed() {
					t.Logf("%s:\n%s", f.name, f.conf)
				}
			})
		}
	})
	if int(tried.Load()) == all { // neither -run nor the User-mode Linux has left some out
		allUsed(t)
	}
}

type parity struct {
	program string           // wg-apply
	env     []string         // for the copy of this test program that brings interfaces up
	before  map[string]state // of each machine
}

const (
	confDir  = "/run/conf"
	confFile = confDir + "/wg0.conf"
)

// compare brings a file up twice and compares.
func (p parity) compare(t *testing.T, f parityFile) {
	theirs, ours := lab.NewHost(t, "theirs"), lab.NewHost(t, "ours")
	for _, h := range []*lab.Host{theirs, ours} {
		h.Run(t, "sh", "-ec", f.world)
		h.Write(t, confFile, f.conf, 0o600)
	}
	why, theirCode := lab.TryWGQuick(t, theirs, "up", confFile)
	said, ourCode := p.apply(ours, f, "once")
	switch {
	case theirCode != 0 && ourCode == 0:
		if !known(f, func(d *difference) bool { return matches(d.takes, why) }) {
			t.Errorf("wg-apply takes what wg-quick refuses:\n%s", why)
		}
		return
	case theirCode != 0 && known(f, func(d *difference) bool { return matches(d.waits, said) }):
		return
	case ourCode != 0:
		p.refused(t, f, said, theirCode == 0)
		if d := cmp.Diff(p.before[f.world], stateOf(t, ours)); d != "" {
			t.Errorf("wg-apply refuses it and has changed something:\n%s", d)
		}
		return
	}

	c, err := wgquick.Parse(f.name, []byte(f.conf))
	if err != nil {
		t.Fatal(err)
	}
	made, have := stateOf(t, theirs), stateOf(t, ours)
	if c.Interface.ListenPort == 0 {
		made.forgetPort()
		have.forgetPort()
	}
	byDesign := false
	for !cmp.Equal(made, have) && known(f, func(d *difference) bool {
		return d.differs != nil && d.differs(c, made, have)
	}) {
		byDesign = true
	}
	if d := cmp.Diff(made, have); d != "" {
		t.Errorf("(-wg-quick +wg-apply):\n%s", d)
	}

	bringUp := slices.Concat(p.env, []string{bringUpEnv + "=" + confFile, os.Args[0]})
	if !byDesign {
		if done := theirs.Run(t, bringUp...); done != "" {
			t.Errorf("adopting it has changed something:\n%s", done)
		}
	}
	if out, code := lab.TryWGQuick(t, theirs, "down", confFile); code != 0 {
		t.Errorf("wg-quick down: exit status %d\n%s", code, out)
	}
	if out, code := p.apply(ours, f, "down"); code != 0 {
		t.Errorf("wg-apply down: exit status %d\n%s", code, out)
	}
	before, after := maps.Clone(p.before[f.world]), stateOf(t, ours)
	if d := cmp.Diff(stateOf(t, theirs)["diary"], after["diary"]); f.asked() && !byDesign && d != "" {
		t.Errorf("what was run (-wg-quick +wg-apply):\n%s", d)
	}
	drop("diary", before, after)
	drop("sysctl", before, after) // src_valid_mark stays, as with wg-quick: others may have come to need it
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("wg-apply down leaves something:\n%s", d)
	}
	if !f.asked() { // the state may rest on hooks, which a plan knows nothing of
		ours.Run(t, bringUp...)
	}
}

// apply runs wg-apply on a host.
func (p parity) apply(h *lab.Host, f parityFile, command string) (out string, code int) {
	args := []string{p.program, command, "wg0", "--dir", confDir, "--run-dir", "/run/wg-kube", "--settle", "0s", "--log-level", "error"}
	if f.asked() {
		args = append(args, "--hooks=run", "--dns")
	}
	return h.Try(args...)
}

// A section that is missing has no line. Nor has a hook: it is not the file that is at fault.
var fileAndLine = regexp.MustCompile(`^wg-apply: (` + confFile + `(:\d+: |: no \[Interface\] section|: (Pre|Post)Up: )|wg0: not up, )`)

// refused checks what wg-apply has said. What it alone refuses is in deliberate, or Parse's business.
func (p parity) refused(t *testing.T, f parityFile, said string, alone bool) {
	_, err := wgquick.Parse(confFile, []byte(f.conf))
	var parse wgquick.Faults
	errors.As(err, &parse)
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if !fileAndLine.MatchString(line) {
			t.Errorf("no file and line: %s", line)
		}
		ofParse := slices.ContainsFunc(parse, func(fault wgquick.Fault) bool { return strings.HasSuffix(line, fault.Error()) })
		if alone && !ofParse && !known(f, func(d *difference) bool { return matches(d.fault, line) }) {
			t.Errorf("wg-quick takes what wg-apply refuses: %s", line)
		}
	}
}
