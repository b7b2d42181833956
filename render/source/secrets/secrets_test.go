package secrets

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"wg-kube/render/overlay"
	"wg-kube/templates/wgquick"
)

func TestList(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want []string
	}{
		"nothing":            {" \n", nil},
		"one":                {"10.0.0.0/24\n", []string{"10.0.0.0/24"}},
		"commas":             {"10.0.0.0/24, fd00::/64", []string{"10.0.0.0/24", " fd00::/64"}},
		"a JSON list":        {` ["10.0.0.0/24", "fd00::/64"] `, []string{"10.0.0.0/24", "fd00::/64"}},
		"an empty JSON list": {"[]", []string{}},
		"half a JSON list":   {`["10.0.0.0/24","fd00`, []string{`["10.0.0.0/24","fd00`}},
		"a list of numbers":  {"[1,2]", []string{"1", "2"}},
		"a number in a list": {`["10.0.0.0/24", 5, null, {"a":"b"}]`, []string{"10.0.0.0/24", "5", "null", `{"a":"b"}`}},
		"too long":           {"10.0.0.0/24," + strings.Repeat("1", maxList), []string{"(65548 bytes, more than 65536)"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, list([]byte(tc.in))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzRead: whatever is in a Secret, a file comes of it, and nothing that looks like a key is said of it.
func FuzzRead(f *testing.F) {
	key := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))
	f.Add([]byte(key), []byte("192.0.2.1:1"), []byte(`["10.0.0.0/24"]`), []byte(key))
	f.Add([]byte("x"), []byte(key), []byte(key), []byte(key+key))
	f.Add([]byte(key+"\n[Peer]"), []byte("::1"), []byte("[[]]"), []byte{})
	f.Fuzz(func(t *testing.T, public, endpoint, allowed, preshared []byte) {
		data := map[string]any{}
		for k, v := range map[string][]byte{publicKey: public, "endpoint": endpoint, allowedIPs: allowed, presharedKey: preshared} {
			data[k] = base64.StdEncoding.EncodeToString(v)
		}
		p := read(&unstructured.Unstructured{Object: map[string]any{
			"metadata": map[string]any{"namespace": "ns", "name": "s", "uid": "1"}, "data": data,
		}})
		if !p.PresharedKey.Key.IsZero() && strings.Contains(fmt.Sprintf("%+v", p.PresharedKey), p.PresharedKey.Key.Reveal()) {
			t.Error("the preshared key is printed")
		}
		self := overlay.Self{Node: "hub", Role: overlay.Hub, Address: []netip.Prefix{netip.MustParsePrefix("100.96.0.1/32")}, ListenPort: 1}
		c, refused := overlay.Build(self, overlay.Snapshot{Peers: []overlay.Peer{p}}, nil, overlay.Policy{Prefix: "wireguard.kube/"})
		if _, err := c.Marshal(); err != nil {
			t.Error(err)
		}
		for _, r := range refused {
			for _, said := range []string{r.Value, r.Reason} { // as they are: to quote them makes more characters
				if wgquick.HideKeys(said) != said {
					t.Errorf("%s", r)
				}
			}
		}
	})
}
