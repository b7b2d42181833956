package wgquick

import "strings"

// key is one thing that a section may say. To teach this package a key, add its row here,
// its field to Interface or Peer, and its line to marshal.go.
type key struct {
	section string
	name    string
	form    form
	set     func(r *reading, value string) error // reads the value into r; a peer's is r.peer()
}

// form is how the programs cut a key and its value out of the line.
type form int

const (
	tight form = iota // wg's own: white space counts nowhere, not even inside, and there must be a value
	loose             // wg-quick's own: trimmed; white space inside separates; no value is the same as no line
	hook              // as loose, but # does not begin a comment
)

var keys = []key{
	{"Interface", "PrivateKey", tight, func(r *reading, v string) error { return readSecret(&r.Interface.PrivateKey, v) }},
	{"Interface", "ListenPort", tight, func(r *reading, v string) error { return readPort(&r.Interface.ListenPort, v) }},
	{"Interface", "FwMark", tight, func(r *reading, v string) error { return readFwMark(&r.Interface.FwMark, v) }},
	{"Interface", "Address", loose, func(r *reading, v string) error { return r.addAddresses(v) }},
	{"Interface", "MTU", loose, func(r *reading, v string) error { return r.setMTU(v) }},
	{"Interface", "Table", loose, func(r *reading, v string) error { return readTable(&r.Interface.Table, v) }},
	{"Interface", "DNS", loose, func(r *reading, v string) error { return addWords(&r.Interface.DNS, v) }},
	{"Interface", "PreUp", hook, func(r *reading, v string) error { return addHook(&r.Interface.PreUp, v) }},
	{"Interface", "PostUp", hook, func(r *reading, v string) error { return addHook(&r.Interface.PostUp, v) }},
	{"Interface", "PreDown", hook, func(r *reading, v string) error { return addHook(&r.Interface.PreDown, v) }},
	{"Interface", "PostDown", hook, func(r *reading, v string) error { return addHook(&r.Interface.PostDown, v) }},
	{"Interface", "SaveConfig", loose, func(_ *reading, v string) error { return refuseSaveConfig(v) }},

	{"Peer", "PublicKey", tight, func(r *reading, v string) error { return readPublic(&r.peer().PublicKey, v) }},
	{"Peer", "PresharedKey", tight, func(r *reading, v string) error { return readSecret(&r.peer().PresharedKey, v) }},
	{"Peer", "AllowedIPs", tight, func(r *reading, v string) error { return addAllowedIPs(&r.peer().AllowedIPs, v) }},
	{"Peer", "Endpoint", tight, func(r *reading, v string) error { return readEndpoint(&r.peer().Endpoint, v) }},
	{"Peer", "PersistentKeepalive", tight, func(r *reading, v string) error { return readKeepalive(&r.peer().PersistentKeepalive, v) }},
}

// find is the row of a key as it stands in the file, in any case, or nil.
func find(section, name string) *key {
	if k := lookup(section, name); k != nil {
		return k
	}
	if k := lookup(section, squeeze(name)); k != nil && k.form == tight {
		return k
	}
	return nil
}

func lookup(section, name string) *key {
	for i := range keys {
		// Equal lengths keep EqualFold to ASCII: a Kelvin sign is no K to wg.
		if k := &keys[i]; k.section == section && len(k.name) == len(name) && strings.EqualFold(k.name, name) {
			return k
		}
	}
	return nil
}
