package pipeline

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

// TestAnImpostor: somebody on the path answers in the place of the API server, and has no certificate of its authority.
// It is asked nothing, what is in force stays, and what is wrong is said once.
func TestAnImpostor(t *testing.T) {
	c := newCluster(t)
	metrics := freeAddr(t)
	s1 := c.machine(t, machine{name: "spoke-1", role: "spoke", underlay: "192.0.2.11", overlay: "100.96.1.1",
		flags: []string{"--metrics-addr", metrics}})
	c.credential(t, s1)
	c.join(t, s1)
	c.otherHub(t, "10.77.0.0/24")
	s1.waitForPeers(t, 1)
	told := func() string {
		r, err := http.Get("http://" + metrics + "/readyz")
		if err != nil {
			return err.Error()
		}
		defer r.Body.Close()
		b, _ := io.ReadAll(r.Body)
		return string(b)
	}
	lab.Eventually(t, hang, "spoke-1 is ready", func() bool {
		return told() == "ok\n" && strings.Contains(s1.render.said(), "msg=published")
	})
	ino, changed := s1.identity(t, proposals+"/wg0.conf")
	const verdict = "this is not the API server, or the credential has another's certificate authority"
	// kept holds for a while that the proposal is as it was, that /readyz says why, and each watch in one line of the log.
	kept := func(t *testing.T) {
		t.Helper()
		lab.Eventually(t, recovery, "it is said", func() bool { return strings.Contains(s1.render.said(), verdict) })
		time.Sleep(5 * time.Second) // for what should not come
		if i, c := s1.identity(t, proposals+"/wg0.conf"); i != ino || c != changed {
			t.Errorf("the proposal was written:\n%s", s1.Read(t, proposals+"/wg0.conf"))
		}
		if n := s1.peers(t); n != 1 {
			t.Errorf("%d peers", n)
		}
		if why := told(); !strings.Contains(why, verdict) {
			t.Errorf("/readyz: %s", why)
		}
		said := map[string]int{}
		for line := range strings.Lines(s1.render.said()) {
			if strings.Contains(line, verdict) {
				said[line[strings.Index(line, "op="):]]++
			}
		}
		for line, times := range said {
			if times > 1 {
				t.Errorf("said %d times: %s", times, line)
			}
		}
	}

	c.StopAPI()
	l, err := net.Listen("tcp", strings.TrimPrefix(c.Admin().Host, "https://"))
	must(t, err)
	var asked atomic.Int64
	impostor := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"NodeList","apiVersion":"v1","metadata":{"resourceVersion":"9999999"},"items":[]}`)
	}))
	_ = impostor.Listener.Close()
	impostor.Listener = l
	impostor.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that end early
	impostor.StartTLS()
	t.Cleanup(impostor.Close)

	t.Run("comes later", kept)
	t.Run("was there first", func(t *testing.T) {
		s1.render.kill()
		s1.startRender()
		kept(t)
		if why := told(); !strings.HasPrefix(why, "waiting for the Nodes: ") {
			t.Errorf("/readyz: %s", why)
		}
		if heard := gauge(t, metrics, "wg_render_source_heard_timestamp_seconds"); heard != 0 {
			t.Errorf("heard at %v", heard)
		}
		if failed := gauge(t, metrics, `wg_render_api_requests_total{code="<error>",method="GET"}`); failed < 2 {
			t.Errorf("%v requests failed", failed)
		}
	})
	if n := asked.Load(); n > 0 {
		t.Errorf("it was asked %d times", n)
	}
	t.Run("goes", func(t *testing.T) {
		impostor.Close()
		must(t, c.StartAPI())
		c.annotate(t, "other-hub", "wireguard.kube/allowed-ips", "10.77.1.0/24")
		lab.Eventually(t, recovery, "spoke-1 hears of it", func() bool {
			return strings.Contains(s1.Read(t, proposals+"/wg0.conf"), "10.77.1.0/24")
		})
	})
}
