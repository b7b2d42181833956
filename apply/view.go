package apply

import (
	"context"
	"net/netip"
	"time"

	"wg-kube/templates/status"
	"wg-kube/templates/wgquick"
)

// View is one interface as "wg-apply status" shows it: what the daemon wrote, and the device as it is now.
type View struct {
	status.Status
	Live      *Device `json:"live,omitempty"`      // nil: there is no device, or LiveError
	LiveError string  `json:"liveError,omitempty"` // why the device could not be read
}

// Device is a live device, without its secrets.
type Device struct {
	Userspace  bool           `json:"userspace,omitempty"`
	Up         bool           `json:"up"`
	MTU        int            `json:"mtu"`
	ListenPort uint16         `json:"listenPort"`
	FwMark     uint32         `json:"fwMark,omitempty"`
	Addresses  []netip.Prefix `json:"addresses"`
	Peers      []LivePeer     `json:"livePeers"`
}

// LivePeer is a peer of a live device.
type LivePeer struct {
	PublicKey     wgquick.PublicKey `json:"publicKey"`
	Name          string            `json:"name,omitempty"`
	Endpoint      netip.AddrPort    `json:"endpoint,omitzero"`
	AllowedIPs    []netip.Prefix    `json:"allowedIPs"`
	LastHandshake time.Time         `json:"lastHandshake,omitzero"`
	RxBytes       int64             `json:"rxBytes"`
	TxBytes       int64             `json:"txBytes"`
}

// View reads what there is to know of an interface, as far as the caller may. It changes nothing.
func (c Config) View(ctx context.Context, name string) (View, error) {
	s, err := c.ReadStatus(name)
	if err != nil {
		return View{}, err
	}
	v := View{Status: s}
	live, err := c.System.Observe(ctx, name)
	if err != nil {
		v.LiveError = err.Error()
		return v, nil
	}
	if !live.Exists {
		return v, nil
	}
	names := map[wgquick.PublicKey]string{}
	f := c.files(name)
	if t, err := readInForce(f.path, &f.settle); err == nil { // root alone may
		f.inForce.take(f.path, t, nil, wgquick.Allow{})
	}
	if f.inForce.config != nil {
		for _, p := range f.inForce.config.Peers {
			names[p.PublicKey] = p.Origin.String()
		}
	}
	v.Live = &Device{live.Userspace, live.Up, live.MTU, live.ListenPort, live.FwMark, live.Addresses, nil}
	for _, p := range live.Peers {
		v.Live.Peers = append(v.Live.Peers, LivePeer{p.PublicKey, names[p.PublicKey], p.Endpoint, p.AllowedIPs, p.LastHandshake, p.RxBytes, p.TxBytes})
	}
	if v.PublicKey.IsZero() {
		v.PublicKey = live.PrivateKey.Public()
	}
	return v, nil
}
