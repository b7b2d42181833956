package wgquick

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"regexp"
	"strings"

	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// PublicKey is a Curve25519 public key. The zero value is no key.
type PublicKey [32]byte

// SecretKey is a private or a preshared key. The zero value is no key.
// No way of printing, logging or marshalling it shows it; Reveal alone does.
type SecretKey [32]byte

var errKey = errors.New("not a key: 44 characters of base64 are wanted")

// ParsePublicKey reads the base64 form. The zero key is an error.
func ParsePublicKey(s string) (PublicKey, error) {
	k, err := parseKey(s)
	if err == nil && k == [32]byte{} {
		err = errors.New("the zero key belongs to nobody")
	}
	return PublicKey(k), err
}

// ParseSecretKey reads the base64 form. The error never contains any of it.
func ParseSecretKey(s string) (SecretKey, error) {
	k, err := parseKey(s)
	return SecretKey(k), err
}

func parseKey(s string) (k [32]byte, err error) {
	// Strict: the unused low bits of the last character must be zero, as wg(8) demands.
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != len(k) || len(s) != 44 {
		return k, errKey
	}
	return [32]byte(b), nil
}

// NewPrivateKey makes a private key from the system's randomness.
func NewPrivateKey() (SecretKey, error) {
	k, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return SecretKey{}, fmt.Errorf("private key: %w", err)
	}
	return SecretKey(k), nil
}

// IsZero reports whether there is no key.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// String is the base64 form. The zero value gives "".
func (k PublicKey) String() string {
	if k.IsZero() {
		return ""
	}
	return base64.StdEncoding.EncodeToString(k[:])
}

// MarshalText is String, for JSON.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText is the inverse of MarshalText; the empty text is no key.
func (k *PublicKey) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*k = PublicKey{}
		return nil
	}
	p, err := ParsePublicKey(string(b))
	*k = p
	return err
}

// IsZero reports whether there is no key.
func (k SecretKey) IsZero() bool { return k == SecretKey{} }

// Clamped is the key as the kernel stores a private key (RFC 7748, section 5).
func (k SecretKey) Clamped() SecretKey {
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

// Public is the public half of a private key. The zero value has none.
func (k SecretKey) Public() PublicKey {
	if k.IsZero() {
		return PublicKey{}
	}
	return PublicKey(wgtypes.Key(k).PublicKey())
}

// Reveal is the base64 form, for the file and the device and nothing else.
func (k SecretKey) Reveal() string { return base64.StdEncoding.EncodeToString(k[:]) }

const hidden = "(hidden)"

var (
	// keyShape is what a key looks like, also one with a few characters too many or too few: base64, hexadecimal or
	// base32; its bytes one by one, of which no IPv6 address and no MAC has as many.
	keyShape = regexp.MustCompile(`[A-Za-z0-9+/]{40,}={0,2}|(?:[0-9A-Fa-f]{1,4}[:, -]+){9,}[0-9A-Fa-f]*`)
	// partShape is what a part of a key may be.
	partShape = regexp.MustCompile(`[A-Za-z0-9+/_%-]{16,}={0,2}`)
)

// HideKeys is text without anything in it that looks like a key, or a part of one. It is for what people may have put
// a key into by mistake, or on purpose, where we do not expect one: a hook.
func HideKeys(text string) string { return hide(text, jumbled) }

func hide(text string, key func(part string) bool) string {
	return partShape.ReplaceAllStringFunc(keyShape.ReplaceAllString(text, hidden), func(part string) string {
		if key(part) {
			return hidden
		}
		return part
	})
}

// Shown is a value as messages quote it: not much of a long one, and nothing of what may hold a part of a key. Values
// have no letters of both cases in a row, names and numbers that they are.
func Shown(value string) string {
	const longest = 80
	seen := value[:min(len(value), 2*longest)] // as far as what begins in what is shown can be a key; the rest may be megabytes
	switch {
	case hide(seen, mixed) != seen:
		return hidden
	case len(value) > longest:
		return value[:longest] + "..."
	}
	return value
}

// mixed reports whether s has letters of both cases.
func mixed(s string) bool { return strings.ToLower(s) != s && strings.ToUpper(s) != s }

// jumbled reports whether s is mixed as nothing is that people name: it changes between lower case, upper case and the
// rest at more than each third character. Of random base64 two in three do.
func jumbled(s string) bool {
	changes := 0
	for i := 1; i < len(s); i++ {
		if kindOf(s[i]) != kindOf(s[i-1]) {
			changes++
		}
	}
	return mixed(s) && changes > len(s)/3
}

func kindOf(c byte) int {
	switch {
	case 'a' <= c && c <= 'z':
		return 1
	case 'A' <= c && c <= 'Z':
		return 2
	}
	return 0
}

// String hides the key.
func (k SecretKey) String() string { return hidden }

// Format hides the key from every verb, %x and %v with flags included.
func (k SecretKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hidden) }

// LogValue hides the key from slog.
func (k SecretKey) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the key from JSON and its like.
func (k SecretKey) MarshalText() ([]byte, error) { return []byte(hidden), nil }
