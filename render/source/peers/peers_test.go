package peers

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"

	"wg-kube/render/overlay"
	"wg-kube/templates/wgquick"
)

func TestPreshared(t *testing.T) {
	denied := errors.New("forbidden")
	secrets := []secret{{name: "s", keys: map[string]wgquick.SecretKey{"good": {1}, "bad": {}}}}
	for name, tc := range map[string]struct {
		ref    SecretKeyRef
		denied error
		want   string
		waits  bool
	}{
		"there":                 {SecretKeyRef{"s", "good"}, nil, "", false},
		"no key":                {SecretKeyRef{"s", "bad"}, nil, "bad in Secret s: not a key: 44 characters of base64 are wanted", false},
		"no such key yet":       {SecretKeyRef{"s", "other"}, nil, "there is no other in Secret s yet", true},
		"no such Secret yet":    {SecretKeyRef{"t", "good"}, nil, "there is no Secret t of type Opaque yet", true},
		"no Secret may be read": {SecretKeyRef{"s", "good"}, denied, "forbidden", true},
	} {
		t.Run(name, func(t *testing.T) {
			got := preshared(&tc.ref, secrets, tc.denied)
			if tc.want == "" && (got.Err != nil || got.Key != wgquick.SecretKey{1}) ||
				tc.want != "" && (got.Err == nil || got.Err.Error() != tc.want || got.Waiting != tc.waits || !got.Key.IsZero()) {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestCondition(t *testing.T) {
	refused := overlay.Rejection{Field: "publicKey", Value: "x", Reason: "not a key"}
	waiting := overlay.Rejection{Field: "presharedKeySecretRef", Reason: "not there yet", Waiting: true}
	for name, tc := range map[string]struct {
		granted    bool
		rejections []overlay.Rejection
		want       [3]string // status, reason, message
	}{
		"all of it":      {true, nil, [3]string{"True", "Accepted", "it is a peer, with all that it claims"}},
		"a part of it":   {true, []overlay.Rejection{refused, waiting}, [3]string{"True", "PartlyRefused", `publicKey "x": not a key; presharedKeySecretRef: not there yet`}},
		"nothing":        {false, []overlay.Rejection{refused, waiting}, [3]string{"False", "Refused", `publicKey "x": not a key; presharedKeySecretRef: not there yet`}},
		"nothing as yet": {false, []overlay.Rejection{waiting}, [3]string{"False", "Waiting", "presharedKeySecretRef: not there yet"}},
	} {
		t.Run(name, func(t *testing.T) {
			c := condition(overlay.Verdict{Generation: 7, Granted: tc.granted, Rejections: tc.rejections})
			want := metav1.Condition{Type: "Accepted", Status: metav1.ConditionStatus(tc.want[0]), Reason: tc.want[1], Message: tc.want[2], ObservedGeneration: 7}
			if diff := cmp.Diff(want, c); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// FuzzReadSecret: whatever a Secret is, and whatever of it is asked for, there is a key or a reason, and never both.
func FuzzReadSecret(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"s"},"data":{"preshared-key":"QUFBQlpJT2l3ZUQvSGoxY2U1cTUyUGNXTlZSemtySFE3dzR0VEd1S3FVZz0K"}}`), "s", "preshared-key")
	f.Add([]byte(`{"metadata":{"name":"s"},"data":{"psk":"eA=="}}`), "s", "psk")
	f.Add([]byte(`{"metadata":{"name":5},"data":{"psk":5}}`), "", "psk")
	f.Fuzz(func(t *testing.T, b []byte, name, key string) {
		u := &unstructured.Unstructured{}
		if json.Unmarshal(b, &u.Object) != nil || u.Object == nil {
			return
		}
		p := preshared(&SecretKeyRef{Name: name, Key: key}, []secret{readSecret(u)}, nil)
		if (p.Err == nil) == p.Key.IsZero() {
			t.Errorf("%v, and a key: %v", p.Err, !p.Key.IsZero())
		}
	})
}

// FuzzRead: whatever JSON an object is, also one that was stored before its definition asked for any form, a file comes
// of it.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"metadata":{"namespace":"ns","name":"p"},"spec":{"publicKey":"x","allowedIPs":["10.0.0.0/24"],"presharedKeySecretRef":{"name":"s"}}}`))
	f.Add([]byte(`{"spec":{"publicKey":5,"persistentKeepalive":-1e99,"allowedIPs":{}},"status":{"conditions":[{"type":"Accepted","lastTransitionTime":"x"}]}}`))
	f.Add([]byte(`{"metadata":5,"spec":null}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		u := &unstructured.Unstructured{}
		if json.Unmarshal(b, &u.Object) != nil || u.Object == nil {
			return
		}
		o := read(u)
		self := overlay.Self{Node: "hub", Role: overlay.Hub, Address: []netip.Prefix{netip.MustParsePrefix("100.96.0.1/32")}, ListenPort: 1}
		c, _ := overlay.Build(self, overlay.Snapshot{Peers: []overlay.Peer{o.peer}}, nil, overlay.Policy{Prefix: "wireguard.kube/"})
		if _, err := c.Marshal(); err != nil {
			t.Error(err)
		}
	})
}
