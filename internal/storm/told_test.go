package storm

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

// logged is what the daemons have said so far.
func (m *machine) logged() string {
	m.t.Helper()
	b, err := os.ReadFile(m.log.Name())
	must(m.t, err)
	return string(b)
}

// What the daemons tell with no flag that asks for it: how things stand, on loopback alone; what has changed, in a line
// each; and nothing while nothing changes.
func TestWhatIsTold(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	f := someFiles()
	m.put(f)
	m.start()
	m.rest()
	for line := range strings.Lines(m.Run(t, "ss", "-Hltn")) {
		if local := strings.Fields(line)[3]; !strings.HasPrefix(local, "127.0.0.1:") {
			t.Errorf("somebody listens on %s", local)
		}
	}
	for addr, metrics := range map[string][]string{
		"127.0.0.1:9587": {`in_sync{iface="wg0"} 1`, `in_sync{iface="wg1"} 1`, `last_in_sync_timestamp_seconds{iface="wg0"} 1`,
			`peers{iface="wg0"} 5`, `device_peers{iface="wg0"} 5`, `held_peers{iface="wg0"} 0`, `held_prefixes{iface="wg0"} 0`,
			`refused{file="proposal",iface="wg0",reason="guard"} 0`, `refused{file="in_force",iface="wg1",reason="malformed"} 0`,
			`errors{iface="wg0"} 0`, `failures_total{iface="wg0"} 0`,
			`drift_repairs_total{iface="wg0",kind="route"} 0`, `drift_repairs_total{iface="wg1",kind="peer"} 0`,
			`peer_last_handshake_timestamp_seconds{iface="wg0",peer="node-1"`,
			`peer_received_bytes_total{iface="wg0",peer="node-1"`, `peer_sent_bytes_total{iface="wg0",peer="node-1"`},
		"127.0.0.1:9586": {`peers{kind="Node"} 4`, `peers{kind="fragment"} 1`, `unsynced 0`, `last_sync_timestamp_seconds 1`,
			`failures_total 0`, `source_faults{source="manifests"} 0`},
	} {
		for _, path := range []string{"/healthz", "/readyz"} {
			lab.Eventually(t, hang, addr+path+" is ok", func() bool { return m.get(addr, path) == "ok\n" })
		}
		for _, metric := range metrics {
			lab.Eventually(t, hang, addr+" tells "+metric, func() bool { return strings.Contains(m.metrics(addr), "_"+metric) })
		}
	}
	if all := m.metrics("127.0.0.1:9587"); !hashes.MatchString(all) {
		t.Errorf("no hashes:\n%s", all)
	}

	lab.Eventually(t, hang, "a hint, which may take one --resync", func() bool { return strings.Contains(m.logged(), "forwarding is off") })
	began := len(m.logged())
	time.Sleep(3 * time.Second) // three times --resync
	if more := m.logged()[began:]; more != "" {
		t.Errorf("said while nothing changed:\n%s", more)
	}
	told := func(node int, prefix string, says ...string) {
		t.Helper()
		began := len(m.logged())
		f.nodes[node].prefixes = append(f.nodes[node].prefixes, prefix)
		m.put(f)
		lab.Eventually(t, hang, prefix+" is told", func() bool { return len(m.logged()) > began })
		m.rest()
		var lines []string
		for line := range strings.Lines(m.logged()[began:]) {
			lines = append(lines, line[strings.Index(line, "msg="):])
		}
		slices.Sort(lines)
		if !slices.EqualFunc(lines, says, strings.HasPrefix) {
			t.Errorf("of %s is said:\n%s", prefix, strings.Join(lines, ""))
		}
	}
	told(1, "10.2.3.0/24", `msg=changed iface=wg0 op="ip route add 10.2.3.0/24 dev wg0 `, `msg=changed iface=wg0 op="wg set wg0 peer `,
		"msg=promoted iface=wg0 ", "msg=proposed iface=wg0 ")
	told(2, "127.0.0.0/8", `msg="claim refused" iface=wg0 peer=Node/`)
	lab.Eventually(t, hang, "a refusal is counted, with its reason", func() bool {
		return strings.Contains(m.metrics("127.0.0.1:9586"), `wg_render_rejections{field="allowed-ips",kind="Node",reason="never"} 1`)
	})
	m.kill(m.apply)
	m.apply = m.daemon("wg-apply", "run", "--metrics-peers=false")
	lab.Eventually(t, hang, "wg-apply is ready", func() bool { return m.get("127.0.0.1:9587", "/readyz") == "ok\n" })
	if all := m.metrics("127.0.0.1:9587"); strings.Contains(all, "wg_apply_peer_") || !strings.Contains(all, `wg_apply_device_peers{iface="wg0"} 5`) {
		t.Errorf("what is known of each peer is told, or the rest is not:\n%s", all)
	}
}

// hashes of the file in force and of what the device was last made to match.
var hashes = regexp.MustCompile(`(?m)^wg_apply_file_info\{applied="sha256:\w+",iface="wg0",in_force="sha256:\w+",proposed="sha256:\w+"\} 1$`)
