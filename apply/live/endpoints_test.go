package live

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"wg-kube/internal/lab"
)

// roaming is a machine and a spoke that moves, on a wire. The machine's file says where the spoke was at first.
type roaming struct {
	*machine
	spoke *machine
	file  *file
}

func newRoaming(t *testing.T) *roaming {
	t.Helper()
	r := &roaming{machine: newMachine(t, "m"), spoke: newMachine(t, "spoke")}
	lab.Link(t, r.Host, "eth0", "192.0.2.1/24", r.spoke.Host, "eth0", "192.0.2.2/24")
	s := &file{key: newKey(t), port: 51820, addresses: []string{"10.7.0.2/24"}}
	r.file = &file{key: newKey(t), port: 51820, addresses: []string{"10.7.0.1/24"},
		peers: []peer{{key: s.key.Public(), allowed: []string{"10.7.0.2/32"}, endpoint: "192.0.2.2:51820"}, stranger(t, "10.7.0.3/32")}}
	s.peers = []peer{{key: r.file.key.Public(), allowed: []string{"10.7.0.1/32"}, endpoint: "192.0.2.1:51820"}}
	r.spoke.write(t, "wg0", s.String())
	r.spoke.apply(t, "once")
	return r
}

// roam lets the spoke move to another port, or to another address, and call from there.
func (r *roaming) roam(t *testing.T, addr string, port int) (endpoint string) {
	t.Helper()
	r.spoke.Run(t, "sh", "-ec", fmt.Sprintf("ip addr flush dev eth0 scope global; ip addr add %s/24 dev eth0; wg set wg0 listen-port %d", addr, port))
	r.spoke.reaches(t, "10.7.0.1")
	endpoint = fmt.Sprintf("%s:%d", addr, port)
	r.at(t, endpoint)
	return endpoint
}

// at waits until the spoke's endpoint is this.
func (r *roaming) at(t *testing.T, endpoint string) {
	t.Helper()
	r.shows(t, r.file.peers[0].key.String()+"\t"+endpoint+"\n", "wg show wg0 endpoints")
}

// stays fails the test unless the spoke's endpoint is this, also some looks later.
func (r *roaming) stays(t *testing.T, what, endpoint string) {
	t.Helper()
	for range 5 {
		out := r.Run(t, "wg", "show", "wg0", "endpoints")
		if !strings.Contains(out, r.file.peers[0].key.String()+"\t"+endpoint+"\n") {
			t.Errorf("%s: the endpoint is not %s any more:\n%s", what, endpoint, out)
			return
		}
		r.look(t)
	}
}

// look waits until the daemon has looked at the device once more: it repairs something else in it.
func (r *roaming) look(t *testing.T) {
	t.Helper()
	r.Run(t, "wg", "set", "wg0", "peer", r.file.peers[1].key.String(), "persistent-keepalive", "7")
	r.shows(t, r.file.peers[1].key.String()+"\toff\n", "wg show wg0 persistent-keepalive")
}

const often = "--resync=50ms"

func TestRoamedEndpointSurvives(t *testing.T) {
	t.Parallel()
	r := newRoaming(t)
	daemon := r.daemon(t, often)
	r.put(t, "wg0", r.file.String())
	r.reaches(t, "10.7.0.2")
	r.at(t, "192.0.2.2:51820")
	r.roam(t, "192.0.2.2", 51999)
	at := r.roam(t, "192.0.2.77", 52000)
	r.stays(t, "at rest", at)
	r.file.note++
	r.put(t, "wg0", r.file.String())
	r.stays(t, "the file read again", at)
	r.file.peers[0].allowed = append(r.file.peers[0].allowed, "10.9.0.0/24")
	r.file.peers = append(r.file.peers, stranger(t, "10.7.0.9/32"))
	r.put(t, "wg0", r.file.String())
	r.stays(t, "other changes", at)
	for _, s := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		end(t, daemon, s)
		r.apply(t, "once")
		daemon = r.daemon(t, often)
		r.stays(t, "a new daemon after "+s.String(), at)
	}

	r.spoke.Run(t, "ip", "link", "set", "eth0", "down") // it cannot call by itself
	r.Run(t, "ip", "link", "del", "wg0")
	r.at(t, at)
	r.stays(t, "the link made anew", at)

	r.file.peers[0].endpoint = "192.0.2.5:51820"
	r.put(t, "wg0", r.file.String())
	r.stays(t, "a changed file wins", "192.0.2.5:51820")
	r.file.peers[0].endpoint = ""
	r.put(t, "wg0", r.file.String())
	r.stays(t, "without an endpoint in the file", "192.0.2.5:51820")
}

// What wg-quick brought up has roamed before wg-apply ever saw it.
func TestRoamedEndpointIsAdopted(t *testing.T) {
	t.Parallel()
	r := newRoaming(t)
	r.write(t, "wg0", r.file.String())
	lab.WGQuickUp(t, r.Host, "wg0")
	at := r.roam(t, "192.0.2.77", 52000)
	r.daemon(t, often)
	r.file.note++
	r.put(t, "wg0", r.file.String())
	r.stays(t, "adopted", at)
}

// Nothing was ever heard from where the endpoint is now. That is no fault of a tunnel in which nobody speaks; it is
// one when there should have been an answer.
func TestSilentEndpoint(t *testing.T) {
	t.Parallel()
	const away = "192.0.2.99:51820"
	r := newRoaming(t)
	r.daemon(t, often)
	r.put(t, "wg0", r.file.String())
	r.Run(t, "wg", "set", "wg0", "peer", r.file.peers[0].key.String(), "endpoint", away)
	r.stays(t, "an idle tunnel", away)
	start := time.Now()
	r.Try("ping", "-c1", "-W1", "10.7.0.2")
	r.stays(t, "just asked", away)
	wait(t, "nobody answers, so the file's endpoint is tried", func() bool {
		out, _ := r.Try("wg", "show", "wg0", "endpoints")
		return strings.Contains(out, "192.0.2.2:51820")
	})
	t.Logf("the file's endpoint was tried after %s", time.Since(start).Round(time.Second))
	r.reaches(t, "10.7.0.2")
}

// A name that nobody knows yet holds up nothing else.
func TestHostname(t *testing.T) {
	t.Parallel()
	for name, resolver := range map[string]string{
		"nobody to ask":                 "",
		"a resolver that never answers": "nameserver 192.0.2.2", // the spoke, which drops the question
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRoaming(t)
			r.Run(t, "sh", "-ec", "echo '"+resolver+"' >/etc/resolv.conf; cp /etc/hosts /run/hosts; mount --bind /run/hosts /etc/hosts")
			r.spoke.Run(t, "nft", "add table ip f; add chain ip f in { type filter hook input priority 0; }; add rule ip f in udp dport 53 drop")
			r.file.peers[0].endpoint = "spoke.example:51820"
			r.file.peers[1].allowed = append(r.file.peers[1].allowed, "192.168.100.0/24")
			r.daemon(t)
			start := time.Now()
			r.put(t, "wg0", r.file.String())
			r.shows(t, "dev wg0", "ip route show 192.168.100.0/24")
			r.shows(t, r.file.peers[0].key.String()+"\t10.7.0.2/32\n", "wg show wg0 allowed-ips")
			r.file.peers = append(r.file.peers, stranger(t, "192.168.101.0/24"))
			r.put(t, "wg0", r.file.String())
			r.shows(t, "dev wg0", "ip route show 192.168.101.0/24")
			t.Logf("all the rest is up, and was changed, after %s", time.Since(start).Round(time.Millisecond))
			const says = "Endpoint: spoke.example:51820: "
			r.shows(t, says, "cat /run/wg-kube/wg0.json")

			r.Run(t, "sh", "-ec", "echo 192.0.2.2 spoke.example >>/run/hosts")
			start = time.Now()
			wait(t, "the name is resolved", func() bool {
				out, _ := r.Try("wg", "show", "wg0", "endpoints")
				return strings.Contains(out, "192.0.2.2:51820")
			})
			t.Logf("resolved %s after it is known", time.Since(start).Round(time.Millisecond))
			r.reaches(t, "10.7.0.2")
			wait(t, "nothing is wrong any more", func() bool { return !strings.Contains(r.Read(t, "/run/wg-kube/wg0.json"), says) })

			at := r.roam(t, "192.0.2.2", 51999)
			r.file.note++
			r.put(t, "wg0", r.file.String())
			r.at(t, at)
		})
	}
}
