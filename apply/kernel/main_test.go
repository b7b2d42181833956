package kernel

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"golang.org/x/sys/unix"

	"wg-kube/apply/plan"
	"wg-kube/internal/lab"
	"wg-kube/templates/wgquick"
)

// What a copy of the test program does on a host.
const (
	onHostEnv  = "WGKUBE_KERNEL_ON_HOST"  // it runs the test of this name there
	bringUpEnv = "WGKUBE_KERNEL_BRING_UP" // it brings up the interface of this file, and runs no test
	deviceEnv  = "WGKUBE_KERNEL_DEVICE"   // path of wg-device
)

func TestMain(m *testing.M) {
	if file := os.Getenv(bringUpEnv); file != "" {
		if err := bringUp(file); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	lab.Main(m)
}

// hostEnv is what a copy of the test program needs to know. Where the kernel has WireGuard nothing else may serve.
func hostEnv(t *testing.T) []string {
	t.Helper()
	device := "/nonexistent"
	if !lab.HasKernelWireGuard(t) {
		device = lab.Build(t, "wg-kube/cmd/wg-device")
	}
	return []string{"env", deviceEnv + "=" + device}
}

// onHost runs the test on a fresh host, as a process of its own: sockets of userspace devices are found through the
// mount namespace. f is called there. What it leaves on the host is a failure.
func onHost(t *testing.T, f func(t *testing.T, s *System)) {
	t.Helper()
	if os.Getenv(onHostEnv) == t.Name() {
		f(t, newSystem(t))
		return
	}
	h := lab.NewHost(t, "host")
	out, code := h.Try(append(hostEnv(t), onHostEnv+"="+t.Name(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")...)
	if code != 0 {
		t.Fatalf("on the host: exit status %d\n%s", code, out)
	}
	if testing.Verbose() {
		t.Log(out)
	}
	if strings.Contains(out, "--- SKIP") {
		lab.Skip(t, out)
	}
	nothingLeft(t, h)
}

// nothingLeft fails if a device, a socket, a rule or a table is left on the host.
func nothingLeft(t *testing.T, h *lab.Host) {
	t.Helper()
	for _, iface := range []string{"wg0", "wg1"} {
		if out, code := h.Try("ip", "link", "show", iface); code == 0 {
			t.Errorf("left behind: %s", out)
		}
	}
	if sockets, _ := filepath.Glob(h.Path("/run/wireguard/*.sock")); len(sockets) > 0 {
		t.Errorf("left behind: %s", sockets)
	}
	if out := h.Run(t, "ip", "rule"); strings.Contains(out, "fwmark") {
		t.Errorf("left behind:\n%s", out)
	}
	if out := h.Run(t, "nft", "list", "ruleset"); strings.Contains(out, "wg-quick") {
		t.Errorf("left behind:\n%s", out)
	}
}

func newSystem(t *testing.T) *System {
	t.Helper()
	s, err := New(testConfig(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func testConfig(runDir string) Config {
	return Config{Device: os.Getenv(deviceEnv), RunDir: runDir, Timeout: 5 * time.Second}
}

// bringUp makes the interface as the file says, and checks what has to hold whatever the file: the device is then
// what the simulation says, and there is nothing left to do.
func bringUp(file string) error {
	s, err := New(testConfig(""))
	if err != nil {
		return err
	}
	defer s.Close()
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	c, err := wgquick.Parse(file, b)
	if err != nil {
		return err
	}
	iface := strings.TrimSuffix(filepath.Base(file), ".conf")
	p, err := apply(s, iface, c)
	fmt.Print(p)
	return err
}

func apply(s *System, iface string, c *wgquick.Config) (plan.Plan, error) {
	ctx := context.Background()
	u, err := s.Underlay(ctx, iface, c)
	if err != nil {
		return plan.Plan{}, err
	}
	want, err := plan.Want(c, iface, u)
	if err != nil {
		return plan.Plan{}, err
	}
	before, err := s.Observe(ctx, iface)
	if err != nil {
		return plan.Plan{}, err
	}
	p := plan.Diff(want, before)
	if err := s.Apply(ctx, p); err != nil {
		return p, err
	}
	after, err := s.Observe(ctx, iface)
	if err != nil {
		return p, err
	}
	if d := cmp.Diff(ours(before.After(p)), ours(after), liveOptions); d != "" {
		return p, fmt.Errorf("%s: the device is not as the simulation says (-simulated +observed):\n%s\nafter:\n%s", iface, d, p)
	}
	u, err = s.Underlay(ctx, iface, c)
	if err != nil {
		return p, err
	}
	if want, err = plan.Want(c, iface, u); err != nil {
		return p, err
	}
	if again := plan.Diff(want, after); !again.Empty() {
		return p, fmt.Errorf("%s: something is left to do:\n%s\nafter:\n%s", iface, again, p)
	}
	return p, nil
}

// ours is the part of a Live that a plan decides.
func ours(l plan.Live) plan.Live {
	l.Now, l.Userspace = time.Time{}, false
	l.ListenPort = 0 // without one in the file the kernel draws it
	l.Routes = slices.DeleteFunc(slices.Clone(l.Routes), func(r plan.Route) bool {
		return r.Protocol != plan.Protocol && r.Protocol != unix.RTPROT_BOOT
	})
	l.Addresses = slices.SortedFunc(slices.Values(l.Addresses), netip.Prefix.Compare) // secondary ones after all others
	l.Rules = slices.SortedStableFunc(slices.Values(l.Rules), func(a, b plan.Rule) int { return a.Priority - b.Priority })
	next := map[bool]int{}
	for i := range l.Rules { // their order alone: the kernel chooses with regard to the rules of others as well
		r := &l.Rules[i]
		r.Priority = next[r.V6]
		next[r.V6]++
	}
	l.Peers = slices.Clone(l.Peers)
	for i := range l.Peers {
		p := &l.Peers[i]
		p.Endpoint = netip.AddrPortFrom(p.Endpoint.Addr().WithZone(""), p.Endpoint.Port()) // not told by the kernel
		p.LastHandshake, p.RxBytes, p.TxBytes = time.Time{}, 0, 0
	}
	return l
}

var liveOptions = cmp.Options{
	cmpopts.EquateEmpty(),
	cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, netip.AddrPort{}),
	cmpopts.SortSlices(func(a, b plan.Rule) bool { return fmt.Sprint(a) < fmt.Sprint(b) }),
	cmpopts.SortSlices(func(a, b plan.Route) bool { return fmt.Sprint(a) < fmt.Sprint(b) }),
	cmpopts.IgnoreFields(plan.Route{}, "Metric"),
	cmpopts.IgnoreFields(plan.Peer{}, "Name", "Asked"),
}
