package peers

import (
	"bytes"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"wg-kube/render/overlay"
	"wg-kube/templates/wgquick"
)

// defaultKey of a Secret holds the preshared key.
const defaultKey = "preshared-key"

// secret is what is kept of a Secret: what can be a preshared key. Of everything else in it, that it is there.
type secret struct {
	name string
	keys map[string]wgquick.SecretKey // zero: not a key
}

func readSecret(u *unstructured.Unstructured) secret {
	kept := secret{name: u.GetName(), keys: map[string]wgquick.SecretKey{}}
	var s corev1.Secret
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &s); err != nil {
		return kept // no Secret that an API server has ever sent
	}
	for name, value := range s.Data {
		kept.keys[name], _ = wgquick.ParseSecretKey(string(bytes.TrimSpace(value)))
	}
	return kept
}

// preshared finds the key that ref names. denied is why there are no secrets, if that is so.
func preshared(ref *SecretKeyRef, secrets []secret, denied error) overlay.Preshared {
	if denied != nil {
		return overlay.Preshared{Err: denied, Waiting: true}
	}
	i := slices.IndexFunc(secrets, func(s secret) bool { return s.name == ref.Name })
	if i < 0 {
		return overlay.Preshared{Err: fmt.Errorf("there is no Secret %s of type Opaque yet", ref.Name), Waiting: true}
	}
	key, ok := secrets[i].keys[ref.Key]
	switch {
	case !ok:
		return overlay.Preshared{Err: fmt.Errorf("there is no %s in Secret %s yet", ref.Key, ref.Name), Waiting: true}
	case key.IsZero():
		return overlay.Preshared{Err: fmt.Errorf("%s in Secret %s: not a key: 44 characters of base64 are wanted", ref.Key, ref.Name)}
	}
	return overlay.Preshared{Key: key}
}
