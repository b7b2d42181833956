package secrets

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// FuzzRead reads whatever an API server may call a Secret. What is in one is never in an error.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"metadata":{"name":"a","namespace":"n","uid":"u"},"data":{"publicKey":"QQ=="}}`), "AAAA")
	f.Add([]byte(`{"metadata":{"name":"a"},"data":{"allowedIPs":"WyIxMC4wLjAuMC84Il0=","presharedKey":5}}`), "")
	f.Add([]byte(`{"metadata":{"name":7,"creationTimestamp":"yesterday"},"data":[]}`), "x")
	f.Fuzz(func(t *testing.T, object []byte, value string) {
		u := &unstructured.Unstructured{}
		if json.Unmarshal(object, &u.Object) != nil || u.Object == nil {
			return
		}
		if data, ok := u.Object["data"].(map[string]any); ok {
			for _, key := range []string{publicKey, endpoint, allowedIPs, presharedKey} {
				if _, ok := data[key].(string); !ok {
					data[key] = base64.StdEncoding.EncodeToString([]byte(value))
				}
			}
		}
		p := read(u)
		for _, err := range []error{p.Err, p.PresharedKey.Err} {
			if len(value) > 8 && err != nil && strings.Contains(err.Error(), value) {
				t.Errorf("%q is shown: %v", value, err)
			}
		}
		if len(p.PublicKey) > maxValue || len(p.Endpoint) > maxValue {
			t.Errorf("too much is kept: %d and %d bytes", len(p.PublicKey), len(p.Endpoint))
		}
		if p.PresharedKey.Err != nil && !p.PresharedKey.Key.IsZero() {
			t.Error("a key with a fault")
		}
	})
}
