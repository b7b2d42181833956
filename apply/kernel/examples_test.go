package kernel

// Keys that mean nothing to anybody.
const (
	private = "PrivateKey = iAkbTpZAXPvjDeXgy8x9VFbXXrFZ9f9wHhg3Y1uVKHA=\n"
	peerA   = "[Peer]\nPublicKey = NPmHA4hNCHeZ5nJ7mfqDLS0PoJ+EnYbZbfuVuDxvYGM=\n"
	peerB   = "[Peer]\nPublicKey = 3cGtHYFiTJFKVZl6tbCzhW6wvSnmqfJ0TVcnWsHc8x0=\n"
	peerC   = "[Peer]\nPublicKey = TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=\n"
	psk     = "PresharedKey = /UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak=\n"
)

// The world around the interface: a wire with a default route of both families.
const world = `
ip link add name eth0 type veth peer name far
ip link set eth0 mtu 1440 up
ip link set far up
ip address add 192.0.2.2/24 dev eth0
ip address add 2001:db8:f::2/64 dev eth0 nodad
ip route add default via 192.0.2.1
ip -6 route add default via 2001:db8:f::1
ip route add 198.51.100.0/24 via 192.0.2.1 mtu 1300
`
