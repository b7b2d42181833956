package peers

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Resource is the type of a WireGuardPeer in the API; deploy/base/crd.yaml defines it.
var Resource = schema.GroupVersionResource{Group: "wireguard.kube", Version: "v1alpha1", Resource: "wireguardpeers"}

// WireGuardPeer is a peer that is no Node.
type WireGuardPeer struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   Spec   `json:"spec"`
	Status Status `json:"status,omitempty"`
}

// Spec is what the author of a WireGuardPeer asks for. The API server has checked its form, unless it was stored
// before the definition asked for that form.
type Spec struct {
	PublicKey             string        `json:"publicKey"`                       // base64
	Endpoint              string        `json:"endpoint,omitempty"`              // IP:port; empty: it calls us
	AllowedIPs            []string      `json:"allowedIPs"`                      // CIDRs
	PersistentKeepalive   *int64        `json:"persistentKeepalive,omitempty"`   // seconds; nil: ours, towards a peer with an endpoint
	PresharedKeySecretRef *SecretKeyRef `json:"presharedKeySecretRef,omitempty"` // nil: there is none
}

// SecretKeyRef names a key of a Secret of type Opaque in the same namespace.
type SecretKeyRef struct {
	Name string `json:"name"`
	Key  string `json:"key,omitempty"` // empty: preshared-key
}

// Status is what became of the Spec.
type Status struct {
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}
