package peers

import (
	"encoding/json"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// FuzzRead reads whatever an API server may call a WireGuardPeer or a Secret: one that was stored before the
// definition asked for a form, for example. It is read, or has an error, and never gets another's name.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"a","namespace":"n"},"spec":{"publicKey":"x","allowedIPs":["10.0.0.0/8"],"persistentKeepalive":25}}`))
	f.Add([]byte(`{"metadata":{"name":"a"},"spec":{"presharedKeySecretRef":{"name":"s"}},"data":{"preshared-key":"QUFB"}}`))
	f.Add([]byte(`{"metadata":{"name":"a"},"spec":{"persistentKeepalive":1e300,"allowedIPs":"10.0.0.0/8","publicKey":7}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		u := &unstructured.Unstructured{}
		if json.Unmarshal(b, &u.Object) != nil || u.Object == nil {
			return
		}
		o := read(u)
		if want := u.GetNamespace() + "/" + u.GetName(); o.peer.Name != want {
			t.Errorf("name %q, want %q", o.peer.Name, want)
		}
		if o.ref != nil && o.ref.Key == "" {
			t.Error("a reference to no key")
		}
		s := readSecret(u)
		if o.ref != nil {
			if k := preshared(o.ref, []secret{s}, nil); k.Err == nil && k.Key.IsZero() {
				t.Error("no key and no error")
			}
		}
	})
}
