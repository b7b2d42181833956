package pipeline

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"wg-kube/internal/lab"
	"wg-kube/internal/lab/apiserver"
	"wg-kube/internal/lab/hosts"
	"wg-kube/templates/wgquick"
)

// recovery bounds the wait for a client that has been refused for a while: it asks again ever more rarely.
const recovery = 90 * time.Second

// TestFailStatic: whatever the API server does or says, what a spoke has stays until a full answer with its own Node
// in it says otherwise, and its only hub until a person agrees.
func TestFailStatic(t *testing.T) {
	c := newCluster(t)
	hub := c.hub(t, "hub", "192.0.2.1", "100.96.0.1")
	metrics, status := freeAddr(t), newStatusLine(t)
	s1 := c.machine(t, machine{name: "spoke-1", role: "spoke", underlay: "192.0.2.11", overlay: "100.96.1.1",
		flags: []string{"--metrics-addr", metrics}, env: []string{"NOTIFY_SOCKET=" + status.path}})
	proxy := c.Proxy(t, c.User("system:node:spoke-1", "system:nodes"))
	c.credential(t, hub)
	s1.use(t, proxy.Config())
	c.join(t, hub)
	c.join(t, s1)
	c.otherHub(t, "10.77.0.0/24")
	s1.reaches(t, hub)

	hears := func(t *testing.T, prefix string) {
		t.Helper()
		lab.Eventually(t, recovery, "spoke-1 hears of "+prefix, func() bool {
			return strings.Contains(s1.Read(t, proposals+"/wg0.conf"), prefix)
		})
	}
	// still does something, and looks whether the proposals are untouched a while later.
	still := func(t *testing.T, do func()) {
		t.Helper()
		for _, m := range []*machine{hub, s1} {
			ino, changed := m.identity(t, proposals+"/wg0.conf")
			defer func() {
				t.Helper()
				if i, c := m.identity(t, proposals+"/wg0.conf"); i != ino || c != changed {
					t.Errorf("%s: the proposal was written:\n%s", m.name, m.Read(t, proposals+"/wg0.conf"))
				}
			}()
		}
		do()
		time.Sleep(2 * time.Second) // long enough for a change that should not come
	}
	hears(t, "10.77.0.0/24")
	lost := lab.Loss(t, s1.Host, hub.Host, hub.overlay, 500)
	untouched := func(t *testing.T) {
		t.Helper()
		if l := lost(); l.Lost != 0 || l.Sent < 500 {
			t.Errorf("%v", l)
		}
	}

	t.Run("cut in mid-watch", func(t *testing.T) {
		still(t, proxy.Cut)
		c.annotate(t, "other-hub", "wireguard.kube/allowed-ips", "10.77.1.0/24")
		hears(t, "10.77.1.0/24")
	})
	for _, tc := range []struct {
		name   string
		answer apiserver.Answer
	}{
		{"hangs up", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { panic(http.ErrAbortHandler) }},
		{"429", refusal(http.StatusTooManyRequests, "TooManyRequests")},
		{"500", refusal(http.StatusInternalServerError, "InternalError")},
		{"403", refusal(http.StatusForbidden, "Forbidden")},
		{"410", refusal(http.StatusGone, "Expired")},
		{"slow", func(w http.ResponseWriter, r *http.Request, server http.Handler) {
			select {
			case <-time.After(3 * time.Second):
				server.ServeHTTP(w, r)
			case <-r.Context().Done():
			}
		}},
		{"answers that end in the middle", func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"9999999"},"items":[`)
		}},
		{"no Nodes at all", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
			w.Header().Set("Content-Type", "application/json")
			if r.URL.Query().Get("watch") == "" {
				_, _ = io.WriteString(w, `{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}`)
				return
			}
			_, _ = io.WriteString(w, `{"type":"BOOKMARK","object":{"kind":"Node","apiVersion":"v1","metadata":{"resourceVersion":"1","annotations":{"k8s.io/initial-events-end":"true"}}}}`)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			still(t, func() { proxy.Use(tc.answer) })
		})
	}
	t.Run("well again", func(t *testing.T) {
		proxy.Use(nil)
		c.annotate(t, "other-hub", "wireguard.kube/allowed-ips", "10.77.2.0/24")
		hears(t, "10.77.2.0/24")
		lab.Eventually(t, recovery, "it says that it is ready", func() bool { return readyz(t, metrics) == http.StatusOK })
	})

	t.Run("gone, and how long ago is told", func(t *testing.T) {
		still(t, func() {
			c.StopAPI()
			time.Sleep(2 * time.Minute) // longer than any backoff, deadline or watchdog between here and the API server
		})
		if heard := gauge(t, metrics, "wg_render_source_heard_timestamp_seconds"); heard == 0 || time.Since(time.Unix(int64(heard), 0)) < time.Second {
			t.Errorf("heard at %v", heard)
		}
		if gauge(t, metrics, "wg_render_source_out_of_touch") != 1 || readyz(t, metrics) != http.StatusServiceUnavailable {
			t.Error("neither the metric nor /readyz has it")
		}
		lab.Eventually(t, hang, "the status has the age", func() bool {
			age := regexp.MustCompile(`; cannot read .*; API server heard (\S+) ago$`).FindStringSubmatch(status.line())
			if age == nil {
				return false
			}
			d, err := time.ParseDuration(age[1])
			return err == nil && d >= 2*time.Second
		})
		untouched(t)
	})
	t.Run("a reboot meanwhile", func(t *testing.T) {
		s1.render.kill()
		s1.apply.kill()
		s1.Run(t, "ip", "link", "delete", "wg0")
		still(t, func() {
			s1.startApply()
			s1.startRender()
			s1.reaches(t, hub)
			lab.Eventually(t, hang, "the status says what it waits for", func() bool {
				return strings.HasSuffix(status.line(), "waiting for the Nodes; API server not heard yet")
			})
		})
		must(t, c.StartAPI())
	})

	lost = lab.Loss(t, s1.Host, hub.Host, hub.overlay, 500)
	t.Run("emptied", func(t *testing.T) {
		still(t, func() { must(t, c.Wipe()) })
		still(t, func() {
			c.allowKubelets(t) // they may see now that there is nothing
			lab.Eventually(t, recovery, "the status says what it waits for", func() bool {
				return strings.Contains(status.line(), "waiting for Node spoke-1, which is this one")
			})
		})
	})
	t.Run("its own Node is there, and its only hub is held", func(t *testing.T) {
		c.join(t, s1)
		lab.Eventually(t, recovery, "spoke-1 proposes nobody", func() bool {
			return !strings.Contains(s1.Read(t, proposals+"/wg0.conf"), "[Peer]")
		})
		var out string
		lab.Eventually(t, hang, "wg-apply holds it", func() bool {
			out, _ = s1.wgApply(t, "status", "wg0")
			return strings.Contains(out, "held")
		})
		if !strings.Contains(out, "wg-apply accept wg0") {
			t.Errorf("the status does not say what to do:\n%s", out)
		}
		s1.reaches(t, hub)
		untouched(t)
		if out, code := s1.wgApply(t, "accept", "wg0"); code != 0 {
			t.Fatal(out)
		}
		s1.waitForPeers(t, 0)
	})
	t.Run("the hub registers again", func(t *testing.T) {
		c.join(t, hub)
		lab.Eventually(t, recovery, "spoke-1 has it", func() bool { return s1.peers(t) == 1 })
		s1.reaches(t, hub)
	})
	t.Run("restored from an older backup", func(t *testing.T) {
		c.otherHub(t, "10.78.0.0/24")
		hears(t, "10.78.0.0/24")
		must(t, c.Backup())
		c.annotate(t, "other-hub", "wireguard.kube/allowed-ips", "10.78.1.0/24")
		hears(t, "10.78.1.0/24")
		lost = lab.Loss(t, s1.Host, hub.Host, hub.overlay, 500)
		must(t, c.Restore())
		hears(t, "10.78.0.0/24")
		c.annotate(t, "other-hub", "wireguard.kube/allowed-ips", "10.78.2.0/24")
		hears(t, "10.78.2.0/24")
		untouched(t)
	})
}

// refusal is how an API server says no.
func refusal(code int, reason metav1.StatusReason) apiserver.Answer {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(code)
		_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, reason, code)
	}
}

// otherHub is a Node that calls itself a hub, and that only its prefix is looked at of.
func (c *cluster) otherHub(t *testing.T, prefix string) {
	t.Helper()
	_, err := c.nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name:   "other-hub",
		Labels: map[string]string{"wireguard.kube/hub": "true"},
		Annotations: map[string]string{
			"wireguard.kube/public-key":  wgquick.SecretKey{2}.Public().String(),
			"wireguard.kube/allowed-ips": prefix,
		},
	}}, metav1.CreateOptions{})
	must(t, err)
}

func (m *machine) wgApply(t *testing.T, args ...string) (out string, code int) {
	t.Helper()
	args = append([]string{lab.Build(t, "wg-kube/cmd/wg-apply")}, args...)
	return m.Try(append(args, "--proposed", "wg0", "--proposals", proposals)...)
}

// statusLine is the service manager's side of sd_notify(3).
type statusLine struct {
	path string
	last atomic.Value
}

func newStatusLine(t *testing.T) *statusLine {
	t.Helper()
	s := &statusLine{path: filepath.Join(hosts.Shared, "notify")}
	l, err := (&net.ListenConfig{}).ListenPacket(context.Background(), "unixgram", s.path)
	must(t, err)
	t.Cleanup(func() { _ = l.Close(); _ = os.Remove(s.path) })
	must(t, os.Chmod(s.path, 0o777)) // wg-render is somebody else
	s.last.Store("")
	go func() {
		b := make([]byte, 4096)
		for {
			n, _, err := l.ReadFrom(b)
			if err != nil {
				return
			}
			if line, ok := strings.CutPrefix(string(b[:n]), "STATUS="); ok {
				s.last.Store(line)
			}
		}
	}()
	return s
}

func (s *statusLine) line() string { return s.last.Load().(string) }

// freeAddr is an address on loopback that nobody listens on now.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// readyz is the status code of what it asks.
func readyz(t *testing.T, addr string) int {
	t.Helper()
	r, err := http.Get("http://" + addr + "/readyz")
	must(t, err)
	defer r.Body.Close()
	return r.StatusCode
}

// gauge is the value of a metric; 0 if there is none.
func gauge(t *testing.T, addr, name string) float64 {
	t.Helper()
	r, err := http.Get("http://" + addr + "/metrics")
	must(t, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	must(t, err)
	for line := range strings.Lines(string(b)) {
		if metric, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && strings.HasPrefix(metric, name) {
			f, err := strconv.ParseFloat(value, 64)
			must(t, err)
			return f
		}
	}
	return 0
}
