package manifests

import (
	"bytes"
	"context"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"wg-kube/render/overlay"
)

func node(name string) string {
	return "apiVersion: v1\nkind: Node\nmetadata:\n  name: " + name + "\n"
}

func TestParse(t *testing.T) {
	last := []overlay.Node{{Name: "a", UID: "old"}, {Name: "b", UID: "old"}}
	for name, tc := range map[string]struct {
		content string
		want    string // names; those kept from before with an asterisk
		faults  []string
	}{
		"one Node":       {node("a"), "a", nil},
		"two documents":  {node("a") + "---\n" + node("c"), "a c", nil},
		"end markers":    {node("a") + "...\n" + node("c") + "...\n---\n" + node("d") + "...", "a c d", nil},
		"directive":      {"# mine\n%YAML 1.1\n---\n" + node("a") + "...\n%YAML 1.1\n--- # next\n" + node("c"), "a c", nil},
		"created":        {node("a") + "  creationTimestamp: 2026-01-31T12:00:00Z\n---\n" + node("c") + "  creationTimestamp: null\n", "a c", nil},
		"leading marker": {"---\n" + node("a") + "--- # next\n" + node("c") + "---\n", "a c", nil},
		"comment first":  {"# my nodes\n---\n" + node("a"), "a", nil},
		"another kind":   {node("a") + "---\napiVersion: v1\nkind: Service\nmetadata: {name: s}\n", "a", nil},
		"another API":    {"apiVersion: longhorn.io/v1beta2\nkind: Node\nmetadata: {name: a}\n", "", nil},
		"JSON":           {`{"apiVersion":"v1","kind":"Node","metadata":{"name":"a"}}`, "a", nil},
		"JSON, twice":    {`{"kind":"Node","metadata":{"name":"a"}}` + "\n" + `{"kind":"Node","metadata":{"name":"c"}}`, "a c", nil},
		"flow YAML":      {"{kind: Node, metadata: {name: a}}", "a", nil},
		"List":           {`{"apiVersion":"v1","kind":"List","items":[{"apiVersion":"v1","kind":"Node","metadata":{"name":"a"}}]}`, "a", nil},
		"NodeList":       {`{"apiVersion":"v1","kind":"NodeList","items":[{"metadata":{"name":"a"}}]}`, "a", nil},
		"empty List":     {`{"apiVersion":"v1","kind":"List","items":[]}`, "", nil},
		"Windows":        {strings.ReplaceAll(node("a")+"---\n"+node("c"), "\n", "\r\n"), "a c", nil},

		"empty file":        {"", "a* b*", []string{"f.yaml: there is no object in it"}},
		"comments alone":    {"# nothing\n", "a* b*", []string{"f.yaml: there is no object in it"}},
		"text":              {"hello\n", "a* b*", []string{"f.yaml: document 1: string where an object is wanted"}},
		"not YAML":          {"\t{[", "a* b*", []string{"f.yaml: document 1: yaml: found character that cannot start any token"}},
		"binary":            {"\x00\x01\x02", "a* b*", []string{"f.yaml: document 1: yaml: control characters are not allowed"}},
		"cut-off JSON":      {`{"kind":"Node","metadata":{"na`, "a* b*", []string{`f.yaml: document 1: yaml: found unexpected end of stream`}},
		"cut-off List":      {"apiVersion: v1\nitems:\n- " + strings.ReplaceAll(node("a"), "\n", "\n  "), "a* b*", []string{"f.yaml: document 1: kind: there is none"}},
		"one bad of two":    {node("c") + "---\n[[\n", "c a* b*", []string{"f.yaml: document 2: yaml: line 2: did not find expected node content"}},
		"no name":           {"kind: Node\nmetadata: {}\n---\n" + node("a"), "a b*", []string{`f.yaml: document 1: metadata.name: "": a lower-case DNS name is wanted`}},
		"name of two lines": {"kind: Node\nmetadata: {name: \"a\\nPostUp = id\"}\n", "a* b*", []string{`f.yaml: document 1: metadata.name: "a\nPostUp = id": a lower-case DNS name is wanted`}},
		"label is a bool": {node("a") + "  labels: {wireguard.kube/peer: true}\n---\n" + node("c"), "c a*",
			[]string{"f.yaml: document 1: Node a: metadata.labels: bool where a string is wanted (true, no and 1 are strings in quotes only)"}},
		"labels are a list": {node("a") + "  labels: [x]\n", "a*", []string{"f.yaml: document 1: Node a: metadata.labels: array where an object is wanted"}},
		"created someday": {node("a") + "  creationTimestamp: yesterday\n", "a*",
			[]string{`f.yaml: document 1: Node a: metadata.creationTimestamp: "yesterday": a time such as 2026-01-31T12:00:00Z is wanted`}},
		"kind in small letters": {strings.Replace(node("a"), "Node", "node", 1), "a*", []string{`f.yaml: document 1: Node a: kind: "node": Node is wanted, in these letters`}},
		"list in small letters": {`{"apiVersion":"v1","kind":"list","items":[]}`, "a* b*", []string{`f.yaml: document 1: kind: "list": List or NodeList is wanted, in these letters`}},
		"directive alone":       {"%YAML 1.1\n", "a* b*", []string{"f.yaml: there is no object in it"}},
		"bad item": {`{"kind":"List","items":[{"kind":"Node","metadata":{"name":"c"}},{"kind":"Node","metadata":{"name":"b","annotations":{"x":1}}}]}`, "c b*",
			[]string{"f.yaml: document 1: items[1]: Node b: metadata.annotations: number where a string is wanted (true, no and 1 are strings in quotes only)"}},
		"twice":                          {node("a") + "---\n" + node("a"), "a", []string{"f.yaml: document 2: Node a: it is there a second time; the first counts"}},
		"wrong where it does not matter": {node("a") + "status: {capacity: {cpu: [1]}, images: 7}\n", "a", nil},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := parse("/x/f.yaml", []byte(tc.content), manifest{nodes: last})
			var got []string
			for _, n := range m.nodes {
				if n.UID == "old" {
					n.Name += "*"
				}
				got = append(got, n.Name)
			}
			if diff := cmp.Diff(tc.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("Nodes (-want +got):\n%s", diff)
			}
			var faults []string
			if err != nil {
				faults = strings.Split(err.Error(), "\n")
			}
			if diff := cmp.Diff(tc.faults, faults); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// TestParseUnread: which Nodes a file hides that never could be read.
func TestParseUnread(t *testing.T) {
	broken := func(name string) string { return node(name) + "  labels: {wireguard.kube/peer: true}\n" }
	for name, tc := range map[string]struct {
		content string
		unread  []string
		whole   bool
	}{
		"nothing is wrong":      {node("a"), nil, true},
		"a label is no string":  {broken("b") + "---\n" + broken("a") + "---\n" + node("c"), []string{"a", "b"}, true},
		"good and broken":       {broken("a") + "---\n" + node("a"), nil, true},
		"twice":                 {node("a") + "---\n" + node("a"), nil, true},
		"kind in small letters": {strings.Replace(node("a"), "Node", "node", 1), []string{"a"}, true},
		"no name":               {"kind: Node\n---\n" + broken("a"), []string{"a"}, false},
		"not YAML":              {"{broken", nil, false},
		"empty":                 {"", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			m, _ := parse("f.yaml", []byte(tc.content), manifest{})
			if !slices.Equal(m.unread, tc.unread) || m.whole != tc.whole {
				t.Errorf("unread %v, whole %v; want %v, %v", m.unread, m.whole, tc.unread, tc.whole)
			}
		})
	}
}

// What kubectl printed for a real cluster, as YAML and as one JSON.
func TestParseRealList(t *testing.T) {
	b, err := os.ReadFile("../../../testdata/nodes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all, err := parse("nodes.yaml", b, manifest{})
	if err != nil || len(all.nodes) != 11 {
		t.Fatalf("%d Nodes, %v", len(all.nodes), err)
	}
	for _, n := range all.nodes {
		if n.Name != "spoke-dual" {
			continue
		}
		if len(n.InternalIPs) == 0 || len(n.PodCIDRs) == 0 || n.UID == "" || n.Created.IsZero() || !n.Ready {
			t.Errorf("something was lost: %+v", n)
		}
	}
	// Cut off anywhere, it never takes a Node away.
	for at := 0; at < len(b); at += len(b)/50 + 1 {
		cut, err := parse("nodes.yaml", b[:at], all)
		if len(cut.nodes) != len(all.nodes) || err == nil {
			t.Errorf("cut off at byte %d: %d Nodes, %v", at, len(cut.nodes), err)
		}
	}
}

// FuzzParse reads any file of manifests: read again it is the same, and a proposal comes of its Nodes.
func FuzzParse(f *testing.F) {
	f.Add([]byte(node("a") + "---\n" + node("b")))
	f.Add([]byte(`{"kind":"List","items":[{"kind":"Node","metadata":{"name":"a"}}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := parse("f.yaml", b, manifest{})
		if len(m.nodes) == 0 && err == nil && len(bytes.TrimSpace(b)) == 0 {
			t.Error("an empty file is no fault")
		}
		again, _ := parse("f.yaml", b, m)
		if diff := cmp.Diff(m, again, cmp.AllowUnexported(manifest{})); diff != "" {
			t.Errorf("reading it again changes it (-first +again):\n%s", diff)
		}
		self := overlay.Self{Node: "hub", Role: overlay.Hub, Address: []netip.Prefix{netip.MustParsePrefix("100.96.0.1/32")}, ListenPort: 1}
		c, _ := overlay.Build(self, overlay.Snapshot{Nodes: m.nodes}, nil, overlay.Policy{Prefix: "wireguard.kube/"})
		if _, err := c.Marshal(); err != nil {
			t.Error(err)
		}
	})
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(dir+"/"+name, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("a.yaml", node("a"))
	write("b.yml", node("b"))
	write("c.json", `{"kind":"Node","metadata":{"name":"c"}}`)
	write("notes.txt", "not a manifest")
	write("junk.yaml", "\t{[")
	var log bytes.Buffer
	s, err := New(dir, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(t.Context(), 20*time.Second)
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	defer running.Wait()
	defer stop()
	becomes := func(want string) {
		t.Helper()
		for {
			nodes, synced := s.Snapshot()
			var names []string
			for _, n := range nodes {
				names = append(names, n.Name)
			}
			got := strings.Join(names, " ")
			if synced && got == want {
				return
			}
			select {
			case <-s.Changed():
			case <-ctx.Done():
				t.Fatalf("want %q, got %q, synced %v", want, got, synced)
			}
		}
	}
	becomes("a b c")
	if s.Faults() != 1 {
		t.Errorf("%d faults, want 1", s.Faults())
	}
	write("junk.yaml", node("d"))
	becomes("a b c d")
	write("a.yaml", node("a")+"---\n"+node("b")) // b is there twice now
	write("e.yaml", node("e"))
	becomes("a b c d e")
	write("a.yaml", "kind: 7") // its Node stays
	write("f.yaml", node("f"))
	becomes("a b c d e f")
	if err := os.Remove(dir + "/a.yaml"); err != nil {
		t.Fatal(err)
	}
	becomes("b c d e f")
	stop()
	running.Wait()
	for want, times := range map[string]int{
		"junk.yaml: document 1":         1,
		"fault of the manifest is gone": 2,
		"Node is in two manifests":      1,
		"a.yaml: document 1: kind":      1,
		"level=ERROR":                   0,
	} {
		if got := strings.Count(log.String(), want); got != times {
			t.Errorf("%d lines with %q, want %d:\n%s", got, want, times, &log)
		}
	}
}
