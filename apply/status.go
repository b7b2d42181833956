package apply

import (
	"errors"
	"io/fs"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"wg-kube/apply/plan"
	"wg-kube/internal/atomicfile"
	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

// ReadStatus reads the status file of an interface. One that is not there is the zero Status.
func (c Config) ReadStatus(iface string) (status.Status, error) {
	path := c.statusFile(iface)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return status.Status{Interface: iface}, nil
	}
	if err != nil {
		return status.Status{Interface: iface}, plain(path, err)
	}
	return status.Parse(path, b)
}

// writeStatus keeps s, and its copy.
func (c Config) writeStatus(s status.Status) error {
	err := writeStatus(c.statusFile(s.Interface), s)
	if c.StatusCopy != "" {
		err = errors.Join(err, writeStatus(filepath.Join(c.StatusCopy, s.Interface+".json"), s))
	}
	return err
}

// writeStatus writes s. One that says nothing leaves no file: a name that somebody mistyped is soon forgotten.
func writeStatus(path string, s status.Status) error {
	if saysNothing(s) {
		if !isThere(path) {
			return nil
		}
		if err := os.Remove(path); err != nil {
			return plain(path, err)
		}
		return nil
	}
	b, err := s.Marshal()
	if err != nil {
		return err
	}
	_, err = atomicfile.WriteIfChanged(path, b, 0o640)
	return err
}

// saysNothing reports whether s has nothing to remember, and nothing that went wrong.
func saysNothing(s status.Status) bool {
	return s.PublicKey.IsZero() && s.Proposed == "" && s.InForce == "" && s.Applied == "" &&
		len(s.Errors)+len(s.Refused)+len(s.Held)+len(s.DNS)+len(s.Peers) == 0
}

func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (c Config) statusFile(iface string) string { return filepath.Join(c.RunDir, iface+".json") }
func (c Config) lockFile(iface string) string   { return filepath.Join(c.RunDir, iface+".lock") }

// downFile is there from "wg-apply down" until "wg-apply once", or the next boot: the device is left alone.
func (c Config) downFile(iface string) string { return filepath.Join(c.RunDir, iface+".down") }

// recall gives live the endpoints that the file last asked for, as far as they are remembered.
func recall(live *plan.Live, peers []status.Peer) {
	for i := range live.Peers {
		p := &live.Peers[i]
		if s, ok := find(peers, p.PublicKey); ok {
			p.Asked = s.Asked
		}
	}
}

// name calls the live peers what the file calls them.
func name(live *plan.Live, want plan.Desired) {
	names := make(map[wgquick.PublicKey]string, len(want.Peers))
	for _, p := range want.Peers {
		names[p.PublicKey] = p.Name
	}
	for i := range live.Peers {
		live.Peers[i].Name = names[live.Peers[i].PublicKey]
	}
}

// roam sends a new link's peers to where they were last seen, unless the file now says something else, and says which
// of them were talking then. Of those that this wg-apply has never seen, the ones that have roamed count as talking.
func roam(want *plan.Desired, peers []status.Peer, seen silence) {
	want.Peers = slices.Clone(want.Peers)
	for i := range want.Peers {
		p := &want.Peers[i]
		s, ok := find(peers, p.PublicKey)
		roamed := ok && s.Asked == p.Asked && s.Roamed.IsValid()
		if roamed {
			p.Endpoint = s.Roamed
		}
		was, known := seen[p.PublicKey]
		p.Talking = was.talking || roamed && !known
	}
}

// remember is what there is to recall next time. live is the device after want was applied to it.
func remember(want plan.Desired, live plan.Live, before []status.Peer) []status.Peer {
	at := make(map[wgquick.PublicKey]netip.AddrPort, len(live.Peers))
	for _, p := range live.Peers {
		at[p.PublicKey] = p.Endpoint
	}
	var out []status.Peer
	for _, p := range want.Peers { // by public key
		s := status.Peer{PublicKey: p.PublicKey, Asked: p.Asked}
		if _, ok := hostname(p.Asked); ok {
			s.Resolved = p.Endpoint.Addr()
		}
		if !s.Asked.IsZero() && !p.Endpoint.IsValid() { // not resolved, so not asked for yet
			was, _ := find(before, p.PublicKey)
			s.Asked, s.Resolved = was.Asked, was.Resolved
		}
		if now := at[p.PublicKey]; now.IsValid() && !p.At(now) && !lostZone(now.Addr()) {
			s.Roamed = now
		}
		if !s.Asked.IsZero() || s.Roamed.IsValid() {
			out = append(out, s)
		}
	}
	return out
}

// resolvedBefore is where names led when that was last remembered.
func resolvedBefore(peers []status.Peer) map[string]netip.Addr {
	all := map[string]netip.Addr{}
	for _, p := range peers {
		if p.Resolved.IsValid() {
			all[p.Asked.Host] = p.Resolved
		}
	}
	return all
}

// lostZone reports whether an address is of no use: its zone is missing, which the kernel does not tell.
func lostZone(a netip.Addr) bool { return a.IsLinkLocalUnicast() && a.Is6() && a.Zone() == "" }

// find looks a peer up in a list that is sorted by public key.
func find(peers []status.Peer, key wgquick.PublicKey) (status.Peer, bool) {
	i, ok := slices.BinarySearchFunc(peers, key, func(p status.Peer, k wgquick.PublicKey) int {
		return slices.Compare(p.PublicKey[:], k[:])
	})
	if !ok {
		return status.Peer{}, false
	}
	return peers[i], true
}

// silence tells which peers do not answer, from their counters at two moments, and which had a session at the last.
type silence map[wgquick.PublicKey]talk

type talk struct {
	rx, tx int64     // when rx last changed
	since  time.Time // when we were first seen to have sent since then; zero: we have not

	talking bool // it had a session when it was last seen
}

// unanswered is how long we may send without an answer: WireGuard itself asks for a new handshake after 15 s.
const unanswered = 20 * time.Second

// note takes in what is live now, and marks in it the peers that do not answer.
func (s silence) note(live *plan.Live) {
	for i := range live.Peers {
		p := &live.Peers[i]
		t, ok := s[p.PublicKey]
		switch {
		case !ok || p.RxBytes != t.rx || p.TxBytes < t.tx:
			t = talk{rx: p.RxBytes, tx: p.TxBytes}
		case p.TxBytes > t.tx && t.since.IsZero():
			t.since = live.Now
		}
		p.Unanswered = !t.since.IsZero() && live.Now.Sub(t.since) >= unanswered
		t.talking = p.Talked(live.Now)
		s[p.PublicKey] = t
	}
}

// forget drops the peers that are not wanted any more. Those of a device that is gone are still known when it is back.
func (s silence) forget(want []plan.Peer) {
	if len(s) <= len(want) {
		return
	}
	wanted := make(map[wgquick.PublicKey]bool, len(want))
	for i := range want {
		wanted[want[i].PublicKey] = true
	}
	maps.DeleteFunc(s, func(k wgquick.PublicKey, _ talk) bool { return !wanted[k] })
}
