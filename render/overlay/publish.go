package overlay

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// Publish returns the labels and annotations, with their prefix, that self should carry on its own Node.
// It never returns a key that is not its own to set. An annotation that is unknown as yet is left out.
//
// What is advertised is AllowedIPs, else the Address: a hub's with its mask, another's as a host prefix, since
// the subnet is not its to claim. The podCIDRs are on the Node already. A hub's Address inside a range that it
// advertises is named beside it: spokes then know whose it is, and grant it to no neighbour.
func Publish(self Self, own Node, p Policy) (labels, annotations map[string]string) {
	labels, annotations = make(map[string]string), make(map[string]string)
	set := func(key, value string) {
		if value != "" {
			annotations[p.Prefix+key] = value
		}
	}
	set(AnnotationPublicKey, self.PublicKey.String())
	set(AnnotationAllowedIPs, advertised(self))
	if self.Role != Hub && !TakenOut(self, own, p) {
		labels[p.Prefix+LabelPeer] = "true"
	}
	switch self.Role {
	case Hub:
		labels[p.Prefix+LabelHub] = "true"
		set(AnnotationEndpoint, endpoint(self, own.ExternalIPs))
		return labels, annotations
	case Mesh:
		set(AnnotationEndpoint, cmp.Or(endpoint(self, own.ExternalIPs), endpoint(self, own.InternalIPs)))
		return labels, annotations
	}
	if self.Site != "" {
		labels[p.Prefix+LabelSite] = self.Site
	}
	if self.Endpoint.IsValid() {
		set(AnnotationEndpoint, self.Endpoint.String())
	}
	if site := newTopology(self, &own, p.Prefix).site; site != "" && self.VPCIP.IsValid() {
		set(AnnotationVPCIP, self.VPCIP.String())
		if self.ListenPort != cmp.Or(self.Endpoint.Port(), defaultPort) {
			set(AnnotationListenPort, strconv.Itoa(int(self.ListenPort)))
		}
	}
	return labels, annotations
}

// TakenOut reports whether somebody took the label off our own Node, which is no hub: key and label are published
// at once, and the key is still there. Only who took the label off puts it back.
func TakenOut(self Self, own Node, p Policy) bool {
	t := newTopology(self, &own, p.Prefix)
	return self.Role != Hub && own.Annotations[p.Prefix+AnnotationPublicKey] != "" && !t.peer(&own) && !t.hub(&own)
}

func advertised(self Self) string {
	prefixes := slices.Clone(self.AllowedIPs)
	for _, p := range self.Address {
		own := host(p.Addr())
		if len(self.AllowedIPs) == 0 {
			if self.Role != Hub {
				p = own
			}
			prefixes = append(prefixes, p)
		}
		around := func(q netip.Prefix) bool { return q.Bits() < own.Bits() && q.Contains(own.Addr()) }
		if self.Role == Hub && !slices.Contains(prefixes, own) && slices.ContainsFunc(prefixes, around) {
			prefixes = append(prefixes, own)
		}
	}
	cidrs := make([]string, len(prefixes))
	for i, p := range prefixes {
		cidrs[i] = p.Masked().String()
	}
	return strings.Join(cidrs, ",")
}

// endpoint is where this node is reached: what its owner says, else the first of its addresses, IPv4 before IPv6.
func endpoint(self Self, addresses []netip.Addr) string {
	if self.Endpoint.IsValid() {
		return self.Endpoint.String()
	}
	var found netip.Addr
	for _, a := range addresses {
		if a = a.Unmap(); a.IsValid() && (!found.IsValid() || a.Is4() && !found.Is4()) {
			found = a
		}
	}
	if !found.IsValid() || self.ListenPort == 0 {
		return ""
	}
	return netip.AddrPortFrom(found, self.ListenPort).String()
}
