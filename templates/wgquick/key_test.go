package wgquick_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
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
