package kernel

import (
	"encoding/binary"
	"fmt"
	"net"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
)

// setZoned gives a peer that is there an endpoint with a zone ("[fe80::1%eth0]:51820"). WireGuard in the kernel keeps
// the zone, but wgctrl has no place for it, neither here nor when a device is read.
func setZoned(iface string, key wgtypes.Key, endpoint *net.UDPAddr) error {
	zone, err := zoneIndex(endpoint.Zone)
	if err != nil {
		return err
	}
	at := make([]byte, unix.SizeofSockaddrInet6)
	binary.NativeEndian.PutUint16(at, unix.AF_INET6)
	binary.BigEndian.PutUint16(at[2:], uint16(endpoint.Port))
	copy(at[8:24], endpoint.IP.To16())
	binary.NativeEndian.PutUint32(at[24:], zone)

	family, err := netlink.GenlFamilyGet(unix.WG_GENL_NAME)
	if err != nil {
		return err
	}
	peers := nl.NewRtAttr(unix.WGDEVICE_A_PEERS|unix.NLA_F_NESTED, nil)
	peer := peers.AddRtAttr(unix.NLA_F_NESTED, nil) // an array of one
	peer.AddRtAttr(unix.WGPEER_A_PUBLIC_KEY, key[:])
	peer.AddRtAttr(unix.WGPEER_A_FLAGS, nl.Uint32Attr(unix.WGPEER_F_UPDATE_ONLY))
	peer.AddRtAttr(unix.WGPEER_A_ENDPOINT, at)
	set := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
	set.AddData(&nl.Genlmsg{Command: unix.WG_CMD_SET_DEVICE, Version: unix.WG_GENL_VERSION})
	set.AddData(nl.NewRtAttr(unix.WGDEVICE_A_IFNAME, nl.ZeroTerminated(iface)))
	set.AddData(peers)
	_, err = set.Execute(unix.NETLINK_GENERIC, 0)
	return err
}

// zoneIndex is the link that a zone names, by its name or its number.
func zoneIndex(zone string) (uint32, error) {
	if l, err := net.InterfaceByName(zone); err == nil {
		return uint32(l.Index), nil
	}
	n, err := strconv.ParseUint(zone, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("zone %q: no such interface", zone)
	}
	return uint32(n), nil
}
