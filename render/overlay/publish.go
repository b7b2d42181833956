package overlay

import (
	"net/netip"
	"strings"
)

// Publish returns the labels and annotations, with their prefix, that self should carry on its own Node.
// It never returns a key that is not its own to set. An annotation that is unknown as yet is left out.
//
// What is advertised is AllowedIPs, else the Address: a hub's with its mask, a spoke's as a host prefix, since
// the subnet is not a spoke's to claim.
func Publish(self Self, own Node, p Policy) (labels, annotations map[string]string) {
	labels, annotations = make(map[string]string), make(map[string]string)
	set := func(key, value string) {
		if value != "" {
			annotations[p.Prefix+key] = value
		}
	}
	set(AnnotationPublicKey, self.PublicKey.String())
	set(AnnotationAllowedIPs, advertised(self))
	if self.Role == Hub {
		labels[p.Prefix+LabelHub] = "true"
		set(AnnotationEndpoint, hubEndpoint(self, own))
		return labels, annotations
	}
	labels[p.Prefix+LabelPeer] = "true"
	if self.Site != "" {
		labels[p.Prefix+LabelSite] = self.Site
	}
	if self.Endpoint.IsValid() {
		set(AnnotationEndpoint, self.Endpoint.String())
	}
	if site := newTopology(self, &own, p.Prefix).site; site != "" && self.VPCIP.IsValid() {
		set(AnnotationVPCIP, self.VPCIP.String())
	}
	return labels, annotations
}

func advertised(self Self) string {
	var cidrs []string
	for _, p := range self.AllowedIPs {
		cidrs = append(cidrs, p.Masked().String())
	}
	if len(cidrs) == 0 {
		for _, p := range self.Address {
			if self.Role != Hub {
				p = host(p.Addr())
			}
			cidrs = append(cidrs, p.Masked().String())
		}
	}
	return strings.Join(cidrs, ",")
}

// hubEndpoint is where a hub is reached: what its owner says, else its first ExternalIP, IPv4 before IPv6.
func hubEndpoint(self Self, own Node) string {
	if self.Endpoint.IsValid() {
		return self.Endpoint.String()
	}
	var found netip.Addr
	for _, a := range own.ExternalIPs {
		if a = a.Unmap(); a.IsValid() && (!found.IsValid() || a.Is4() && !found.Is4()) {
			found = a
		}
	}
	if !found.IsValid() || self.ListenPort == 0 {
		return ""
	}
	return netip.AddrPortFrom(found, self.ListenPort).String()
}
