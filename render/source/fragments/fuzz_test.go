package fragments

import "testing"

// FuzzParse reads any file as a fragment: it has peers with keys, or faults, and no say in the interface.
func FuzzParse(f *testing.F) {
	f.Add([]byte("[Peer]\nPublicKey = IKTy2zSYiUnTJUNFrGFCOattmGH0uLtnzgDu2o5eEzM=\nAllowedIPs = 10.0.0.0/8\n"))
	f.Add([]byte("[Interface]\nPostUp = reboot\n[Peer]\n"))
	f.Add([]byte("# only a comment"))
	f.Fuzz(func(t *testing.T, b []byte) {
		peers, err := parse("a.conf", b, nil)
		if err != nil && peers != nil {
			t.Error("peers of a file with faults")
		}
		for _, p := range peers {
			if p.PublicKey.IsZero() {
				t.Error("a peer without a key")
			}
		}
	})
}
