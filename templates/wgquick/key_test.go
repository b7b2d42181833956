package wgquick_test

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"wg-kube/templates/wgquick"
)

func TestSecretKeyIsNotShown(t *testing.T) {
	k := secret(t, keyA)
	c := full(t)
	c.Peers[0].PresharedKey = secret(t, keyD)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", k, "config", c.Interface)
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k, "config", c.Interface)
	asJSON, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	shown := []string{log.String(), string(asJSON)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		shown = append(shown, fmt.Sprintf(verb, k), fmt.Sprintf(verb, &k), fmt.Sprintf(verb, *c), fmt.Sprintf(verb, c.Peers))
	}
	for _, s := range shown {
		for _, form := range []string{keyA, "AQEBAQ", "01010101", "1 1 1 1", "1, 1, 1", "0x1, 0x1", keyD, "04040404", "4 4 4 4", "0x4, 0x4"} {
			if strings.Contains(s, form) {
				t.Errorf("%q is in %s", form, s)
			}
		}
	}
	if k.Reveal() != keyA {
		t.Errorf("revealed as %s", k.Reveal())
	}
}

func TestParseKeys(t *testing.T) {
	for name, s := range map[string]string{
		"empty":                   "",
		"31 bytes":                "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQ==",
		"33 bytes":                "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB",
		"without padding":         "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE",
		"low bits set":            "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQF=",
		"a newline":               keyA + "\n",
		"a newline inside":        keyA[:43] + "\n",
		"the URL's base64":        "_" + keyA[1:],
		"a character that is not": "!" + keyA[1:],
	} {
		if _, err := wgquick.ParsePublicKey(s); err == nil {
			t.Errorf("public key, %s: accepted", name)
		}
		_, err := wgquick.ParseSecretKey(s)
		if err == nil {
			t.Errorf("secret key, %s: accepted", name)
		} else if s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("secret key, %s: shown in %s", name, err)
		}
	}
	if _, err := wgquick.ParsePublicKey(zero); err == nil {
		t.Error("the zero key is accepted as a public key")
	}
	if k, err := wgquick.ParseSecretKey(zero); err != nil || !k.IsZero() || !k.Public().IsZero() {
		t.Errorf("the zero secret key: %v", err)
	}
}

func TestClampedKeepsThePublicHalf(t *testing.T) {
	k := secret(t, keyA)
	if k.Clamped() == k {
		t.Error("this key was to need clamping")
	}
	if k.Clamped().Public() != k.Public() || k.Clamped().Clamped() != k.Clamped() {
		t.Error("clamping makes another key of it")
	}
}

// A person may put a private key into any line, whole or in part and in any form. No fault shows more of it than a
// dozen characters.
func TestNoFaultShowsAPartOfAKey(t *testing.T) {
	const window = 12
	random := rand.New(rand.NewPCG(1, 2))
	for range 30 {
		var key [32]byte
		for n := range key {
			key[n] = byte(random.Uint32())
		}
		text := wgquick.SecretKey(key).Reveal()
		decimal := strings.Trim(fmt.Sprint(key), "[]")
		whole := []string{text, hex.EncodeToString(key[:]), fmt.Sprintf("%X", key), fmt.Sprintf("% x", key), decimal, base32.StdEncoding.EncodeToString(key[:]),
			base64.URLEncoding.EncodeToString(key[:]), base64.StdEncoding.EncodeToString([]byte(text))}
		values := append(whole, text[:43], text[:40], text[:22], text[22:], text[:20]+" "+text[20:], text+"A", "*"+text[1:], `"`+text+`"`, "key:"+text, "0x"+whole[1],
			strings.ReplaceAll(whole[3], " ", ":"), strings.ReplaceAll(decimal, " ", ","), text[:10]+"\u200b"+text[10:], strings.NewReplacer("+", "%2B", "/", "%2F", "=", "%3D").Replace(text))
		for _, value := range values {
			for _, format := range []string{
				"[Interface]\nPrivateKey = @!", "[Interface]\nAddress = @", "[Interface]\nListenPort = @", "[Interface]\nMTU = @", "[Interface]\nFwMark = @", "[Interface]\nTable = 0 @",
				"[Interface]\nSaveConfig = @", "[Interface]\n@ = 1", "[Interface]\n@", "[@]", "@\n[Interface]", inPeer + "PresharedKey = @!", inPeer + "AllowedIPs = @",
				inPeer + "Endpoint = @", inPeer + "Endpoint = @:1", inPeer + "Endpoint = 192.0.2.1:@", inPeer + "PersistentKeepalive = @", "[Peer]\nPublicKey = @!",
				"# origin: Node/@\n[Peer]\nPublicKey = %A%\nMTU = 1",
			} {
				file := strings.ReplaceAll(withKeys(format), "@", value)
				_, err := wgquick.Parse("a", []byte(file))
				if err == nil {
					if strings.Contains(file, "Endpoint = "+value+":") && len(value) >= 40 {
						t.Errorf("%q is taken for the name of a host", value)
					}
					continue
				}
				said := strings.ReplaceAll(err.Error(), withKeys("%A%"), "")
				for _, form := range append(whole, strings.ReplaceAll(whole[3], " ", ":"), strings.ReplaceAll(decimal, " ", ",")) {
					for n := range len(form) - window {
						if strings.Contains(said, form[n:n+window]) {
							t.Fatalf("%q: %v", file, err)
						}
					}
				}
			}
		}
	}
}

func TestShown(t *testing.T) {
	for _, value := range []string{
		"10.0.0.0/33", "2001:db8:1234:5678:9abc:def0:1234:5678/129", "ip-10-0-12-34.eu-central-1.compute.internal:51820", "192.0.2.1:port", "main2",
		"3f2a1b4c-0d1e-4f5a-8b9c-0123456789ab", "i-0123456789abcdef0.eu-west-1.compute.internal", "1400 bytes", "10.0.0.1/24 10.0.1.1/24 10.0.2.1/24",
	} {
		if got := wgquick.Shown(value); got != value {
			t.Errorf("%q is shown as %q", value, got)
		}
	}
	const secret = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	for n := range 50 { // where a long value is cut
		shown := wgquick.Shown(strings.Repeat("x ", n) + secret + strings.Repeat(" x", 1<<10))
		for from := range len(secret) - 4 {
			if strings.Contains(shown, secret[from:from+4]) {
				t.Fatalf("a part of a key is shown: %q", shown)
			}
		}
	}
	for _, hook := range []string{
		"iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE", "/etc/NetworkManager/dispatcher.d/WireGuard up", "wg set %i peer x persistent-keepalive 25",
	} {
		if got := wgquick.HideKeys(hook); got != hook {
			t.Errorf("%q is shown as %q", hook, got)
		}
	}
}

func TestHideKeys(t *testing.T) {
	const secret = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	for in, want := range map[string]string{
		"wg set wg0 private-key <(echo " + secret + ")": "wg set wg0 private-key <(echo (hidden))",
		"ip route add 10.0.0.0/8 dev wg0":               "ip route add 10.0.0.0/8 dev wg0",
		"PrivateKey=" + secret:                          "PrivateKey=(hidden)",
		secret[:41] + "!":                               "(hidden)!",
	} {
		if got := wgquick.HideKeys(in); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
