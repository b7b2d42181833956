package kube

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"testing"
)

func TestTransport(t *testing.T) {
	for name, tc := range map[string]struct{ says, heard string }{
		"nothing":          {"", ""},
		"a second":         {"1", "1"},
		"an hour":          {"3600", ""},
		"no number at all": {"Sun, 22 Nov 2026 12:00:00 GMT", "Sun, 22 Nov 2026 12:00:00 GMT"}, // client-go does not heed it
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if tc.says != "" {
					w.Header().Set("Retry-After", tc.says)
				}
				w.WriteHeader(http.StatusServiceUnavailable)
			}))
			defer server.Close()
			var at addresses
			client := http.Client{Transport: transport{http.DefaultTransport, &at}}
			answer, err := client.Get(server.URL)
			if err != nil {
				t.Fatal(err)
			}
			_ = answer.Body.Close()
			if got := answer.Header.Get("Retry-After"); got != tc.heard {
				t.Errorf("Retry-After %q, want %q", got, tc.heard)
			}
			if got, want := at.list(), []netip.Addr{netip.MustParseAddr("127.0.0.1")}; !slices.Equal(got, want) {
				t.Errorf("reached at %v, want %v", got, want)
			}
		})
	}
}

func TestAddressesOfAName(t *testing.T) {
	var at addresses
	at.resolve(t.Context(), "localhost")
	at.resolve(t.Context(), "192.0.2.1")
	at.resolve(t.Context(), "no-such-host.invalid")
	if got := at.list(); len(got) < 2 || !slices.Contains(got, netip.MustParseAddr("127.0.0.1")) || !slices.Contains(got, netip.MustParseAddr("192.0.2.1")) {
		t.Errorf("%v", got)
	}
}

func TestFieldManager(t *testing.T) {
	for prefix, want := range map[string]string{
		"wireguard.kube/":              "wg-kube",
		"stretch.azure.com/wireguard-": "wg-kube:stretch.azure.com/wireguard-",
	} {
		if got := (Config{Prefix: prefix}).fieldManager(); got != want {
			t.Errorf("%s: %q, want %q", prefix, got, want)
		}
	}
}
