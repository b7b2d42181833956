package apply

import (
	"os"
	"strings"
	"testing"

	"wg-kube/templates/wgquick"
)

// An editor or a full disk can leave a file with nothing in it, or with its first lines gone.
func TestAFileWithoutAnInterfaceTakesNothingAway(t *testing.T) {
	for name, cut := range map[string]func(file string) string{
		"empty":          func(string) string { return "" },
		"only a comment": func(string) string { return "# nothing\n" },
		"only its peers": func(file string) string { return file[strings.Index(file, "[Peer]"):] },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			i := h.newIface("wg0", func() {})
			file := byHand(t, peer(1, 1))
			h.write(t, h.inForce("wg0"), file)
			h.look(t, i, true)
			h.kernel.sent()
			h.write(t, h.inForce("wg0"), cut(file))
			h.look(t, i, true)
			if sent := h.kernel.sent(); sent != "" {
				t.Errorf("it changes the device:\n%s", sent)
			}
			s := h.status(t, "wg0")
			if len(s.Refused) != 1 || !strings.Contains(s.Refused[0], "no [Interface] section") {
				t.Errorf("refused: %q", s.Refused)
			}
			if err := Check(h.inForce("wg0"), false); err == nil {
				t.Error("check takes it")
			}
		})
	}
}

func TestCheckOfAFragment(t *testing.T) {
	dir := t.TempDir() + "/wg0.peers.d/"
	key := peer(1, 1).PublicKey.String()
	must(t, os.Mkdir(dir, 0o755))
	write(t, dir+"good.conf", "[Peer]\nPublicKey = "+key+"\nAllowedIPs = 10.1.0.0/24\n")
	write(t, dir+"bad.conf", "[Interface]\nListenPort = 1\n")
	if err := Check(dir+"good.conf", false); err != nil {
		t.Error(err)
	}
	if err := Check(dir+"bad.conf", false); err == nil || !strings.Contains(err.Error(), "bad.conf:1: ") {
		t.Errorf("a fragment with an interface: %v", err)
	}
}

// A key that stands where an origin does may be cut at its slash, wherever that is.
func TestNoKeyBecomesAName(t *testing.T) {
	const base64 = "ABcdEFgh0123ijKLmnOP4567qrSTuvWX89abYZcdEFg="
	for at := 1; at < len(base64)-1; at++ {
		file := byHand(t) + "# origin: " + base64[:at] + "/" + base64[at+1:] + "\n[Peer]\nPublicKey = " + key(1).String() + "\n"
		c, err := parse("wg0.conf", []byte(file), new(wgquick.Reader))
		if err != nil || c.Peers[0].Origin != (wgquick.Origin{}) {
			t.Errorf("%d: %v, %v", at, c.Peers[0].Origin, err)
		}
	}
	for _, is := range []string{"Node/spoke-number-12", "WireGuardPeer/worker.eu-west-1.example.org"} {
		c, err := parse("wg0.conf", []byte(byHand(t)+"# origin: "+is+"\n[Peer]\nPublicKey = "+key(1).String()+"\n"), new(wgquick.Reader))
		if err != nil || c.Peers[0].Origin.String() != is {
			t.Errorf("%s: %v, %v", is, c.Peers[0].Origin, err)
		}
	}
}
