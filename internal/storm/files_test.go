package storm

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"

	"wg-kube/templates/wgquick"
)

// files are what a person, git and the cluster say at one moment: Nodes, static fragments, and an interface kept by
// hand. No two of them claim the same, so that it does not matter in which order they are seen.
type files struct {
	nodes     map[int]*peer
	fragments map[int]*peer
	hand      hand
}

// hand is wg1.conf.
type hand struct {
	peers   []*peer
	address int // the last part of the second address
	mtu     int // zero: not said
	full    bool
}

// peer is one of either interface.
type peer struct {
	id        int
	prefixes  []string
	endpoint  int // port; zero: none
	keepalive int
	psk       int // which one; zero: none
	note      int // in a comment or an annotation that is nobody's
}

// secret is a key that is told from its number.
func secret(number int) wgquick.SecretKey {
	k := wgquick.SecretKey{1, byte(number >> 8), byte(number)}
	for i := 3; i < len(k); i++ {
		k[i] = byte(number*7 + i*31)
	}
	return k.Clamped()
}

// Of which number a key is.
const (
	keyOfWg0 = 1 + iota
	keyOfWg1
	keyOfNode     = 1000
	keyOfFragment = 2000
	keyOfHand     = 3000
	keyShared     = 4000 // preshared
)

func someFiles() *files {
	f := &files{nodes: map[int]*peer{}, fragments: map[int]*peer{}, hand: hand{address: 1}}
	for id := range 4 {
		f.nodes[id] = node(id)
	}
	f.fragments[0] = fragment(0)
	for id := range 4 {
		f.hand.peers = append(f.hand.peers, &peer{id: id, prefixes: []string{fmt.Sprintf("10.%d.0.0/24", 100+id), fmt.Sprintf("fd00:%d::/64", 100+id)}, endpoint: 40000 + id})
	}
	return f
}

// change makes one change, and says which.
func (f *files) change(r *rand.Rand) string {
	if r.IntN(2) == 0 {
		return f.changeNodes(r)
	}
	return f.hand.change(r)
}

// changeNodes changes a Node or a fragment.
func (f *files) changeNodes(r *rand.Rand) string {
	switch r.IntN(7) {
	case 0:
		return toggle(f.nodes, r.IntN(9), "Node", node)
	case 1, 2:
		n := one(r, f.nodes)
		n.prefixes = grown(r, n.prefixes, fmt.Sprintf("10.%d.%d.0/24", n.id+1, 1+r.IntN(9)))
		return fmt.Sprintf("Node %d: allowed-ips %v", n.id, n.prefixes)
	case 3:
		n := one(r, f.nodes)
		n.endpoint = []int{0, 51820, 51821}[r.IntN(3)]
		return fmt.Sprintf("Node %d: endpoint %d", n.id, n.endpoint)
	case 4:
		n := one(r, f.nodes)
		n.note++
		return fmt.Sprintf("Node %d: an annotation that is nobody's", n.id)
	case 5:
		return toggle(f.fragments, r.IntN(4), "fragment", fragment)
	case 6:
		p := one(r, f.fragments)
		p.psk, p.keepalive = r.IntN(4), r.IntN(2)*25
		return fmt.Sprintf("fragment %d: psk %d, keepalive %d", p.id, p.psk, p.keepalive)
	}
	return "nothing"
}

func (h *hand) change(r *rand.Rand) string {
	oneOf := func() *peer { return h.peers[r.IntN(len(h.peers))] }
	switch r.IntN(9) {
	case 0, 1: // a prefix moves
		from, to := oneOf(), oneOf()
		if from != to && len(from.prefixes) > 0 {
			to.prefixes = append(to.prefixes, from.prefixes[0])
			from.prefixes = from.prefixes[1:]
			return fmt.Sprintf("wg1: %s moves from %d to %d", to.prefixes[len(to.prefixes)-1], from.id, to.id)
		}
	case 2, 3: // a prefix comes, or goes and nobody has it
		p := oneOf()
		if prefix := fmt.Sprintf("10.%d.%d.0/24", 100+p.id, 1+r.IntN(9)); slices.Contains(p.prefixes, prefix) || h.free(prefix) {
			p.prefixes = grown(r, p.prefixes, prefix)
			return fmt.Sprintf("wg1: %d has %v", p.id, p.prefixes)
		}
	case 4:
		p := oneOf()
		p.psk, p.keepalive, p.endpoint = r.IntN(4), r.IntN(2)*20, 40000+r.IntN(50)
		return fmt.Sprintf("wg1: %d has psk %d, keepalive %d, endpoint %d", p.id, p.psk, p.keepalive, p.endpoint)
	case 5:
		id := 4 + r.IntN(4)
		prefix := fmt.Sprintf("10.%d.0.0/24", 100+id)
		switch {
		case h.drop(id):
			return fmt.Sprintf("wg1: peer %d goes", id)
		case h.free(prefix):
			h.peers = append(h.peers, &peer{id: id, prefixes: []string{prefix}})
			return fmt.Sprintf("wg1: peer %d comes", id)
		}
	case 6:
		h.address = 1 + r.IntN(5)
		return fmt.Sprintf("wg1: address %d", h.address)
	case 7:
		h.mtu = []int{0, 1300, 1380}[r.IntN(3)]
		return fmt.Sprintf("wg1: mtu %d", h.mtu)
	case 8:
		h.full = !h.full
		return fmt.Sprintf("wg1: default route: %v", h.full)
	}
	return "nothing"
}

// node is Node id as it joins.
func node(id int) *peer {
	return &peer{id: id, prefixes: []string{fmt.Sprintf("100.96.%d.1/32", id+1)}}
}

func fragment(id int) *peer {
	return &peer{id: id, prefixes: []string{fmt.Sprintf("10.200.%d.0/24", id)}, endpoint: 51820 + id, psk: 1}
}

// toggle makes one that there is not, or removes it if there is, but for the first.
func toggle(of map[int]*peer, id int, what string, fresh func(id int) *peer) string {
	if id > 0 && of[id] != nil {
		delete(of, id)
		return fmt.Sprintf("%s %d goes", what, id)
	}
	of[id] = fresh(id)
	return fmt.Sprintf("%s %d comes", what, id)
}

// one is any of them, the same for the same r.
func one(r *rand.Rand, of map[int]*peer) *peer {
	ids := slices.Sorted(maps.Keys(of))
	return of[ids[r.IntN(len(ids))]]
}

// free reports whether nobody has the prefix.
func (h *hand) free(prefix string) bool {
	return !slices.ContainsFunc(h.peers, func(p *peer) bool { return slices.Contains(p.prefixes, prefix) })
}

func (h *hand) drop(id int) bool {
	n := len(h.peers)
	h.peers = slices.DeleteFunc(h.peers, func(p *peer) bool { return p.id == id })
	return len(h.peers) < n
}

// grown has the prefix if all did not, and has it not if it did.
func grown(r *rand.Rand, all []string, prefix string) []string {
	if i := slices.Index(all, prefix); i >= 0 {
		return slices.Delete(slices.Clone(all), i, i+1)
	}
	return slices.Insert(slices.Clone(all), r.IntN(len(all)+1), prefix)
}

// text is every file that there is, by path.
func (f *files) text() map[string]string {
	out := map[string]string{handFile: f.hand.text(), nodesDir + "/self.yaml": self}
	for id, n := range f.nodes {
		out[fmt.Sprintf("%s/node-%d.yaml", nodesDir, id)] = n.manifest()
	}
	for id, p := range f.fragments {
		out[fmt.Sprintf("%s/office-%d.conf", peersDir, id)] = p.section(keyOfFragment)
	}
	return out
}

const self = `apiVersion: v1
kind: Node
metadata:
  name: hub
  labels: {wireguard.kube/hub: "true"}
  annotations: {wireguard.kube/endpoint: "10.9.0.1:51820"}
status:
  addresses: [{type: InternalIP, address: 10.9.0.1}]
`

func (p *peer) manifest() string {
	endpoint := ""
	if p.endpoint != 0 {
		endpoint = fmt.Sprintf("\n    wireguard.kube/endpoint: 10.9.0.2:%d", p.endpoint)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Node
metadata:
  name: node-%d
  labels: {wireguard.kube/peer: "true"}
  annotations:
    wireguard.kube/public-key: %s
    wireguard.kube/allowed-ips: %s%s
    example.org/note: "%d"
status:
  addresses: [{type: InternalIP, address: 100.96.%d.1}]
`, p.id, secret(keyOfNode+p.id).Public(), strings.Join(p.prefixes, ","), endpoint, p.note, p.id+1)
}

func (p *peer) section(keys int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[Peer]\nPublicKey = %s\n", secret(keys+p.id).Public())
	if p.psk != 0 {
		fmt.Fprintf(&b, "PresharedKey = %s\n", secret(keyShared+p.psk).Reveal())
	}
	if len(p.prefixes) > 0 {
		fmt.Fprintf(&b, "AllowedIPs = %s\n", strings.Join(p.prefixes, ", "))
	}
	if p.endpoint != 0 {
		fmt.Fprintf(&b, "Endpoint = 10.9.0.2:%d\n", p.endpoint)
	}
	if p.keepalive != 0 {
		fmt.Fprintf(&b, "PersistentKeepalive = %d\n", p.keepalive)
	}
	return b.String()
}

func (h *hand) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# kept by hand\n[Interface]\nPrivateKey = %s\nListenPort = 51900\nAddress = 10.77.0.1/24, 10.77.%d.1/32, fd77::1/64\n",
		secret(keyOfWg1).Reveal(), h.address)
	if h.mtu != 0 {
		fmt.Fprintf(&b, "MTU = %d\n", h.mtu)
	}
	peers := slices.SortedFunc(slices.Values(h.peers), func(a, b *peer) int { return cmp.Compare(a.id, b.id) })
	for i, p := range peers {
		section := *p
		if h.full && i == 0 {
			section.prefixes = append(slices.Clone(p.prefixes), "0.0.0.0/0", "::/0")
		}
		b.WriteString("\n" + section.section(keyOfHand))
	}
	return b.String()
}
