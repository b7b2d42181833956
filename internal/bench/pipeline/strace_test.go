package pipeline

import "testing"

func TestCountChanging(t *testing.T) {
	for _, tc := range []struct {
		name, trace string
		want        int
	}{
		{"nothing", "", 0},
		{"a route is added", `41 sendto(7, [{nlmsg_len=52, nlmsg_type=RTM_NEWROUTE, nlmsg_flags=NLM_F_REQUEST|NLM_F_ACK|NLM_F_EXCL|NLM_F_CREATE, nlmsg_seq=9, nlmsg_pid=0}, {rtm_family=AF_INET, ...}], 52, 0, {sa_family=AF_NETLINK}, 12) = 52` + "\n", 1},
		{"routes are listed", `41 sendto(7, [{nlmsg_len=36, nlmsg_type=RTM_GETROUTE, nlmsg_flags=NLM_F_REQUEST|NLM_F_DUMP, nlmsg_seq=4, nlmsg_pid=0}, ...], 36, 0, {sa_family=AF_NETLINK}, 12) = 36` + "\n", 0},
		{"a device in user space is read and set", `41 write(9, "get=1\n\n", 7) = 7` + "\n" + `42 write(9, "set=1\npublic_key=00"..., 112) = 112` + "\n", 1},
		{"the file in force is written", `41 write(9, "# Written by wg-apply\n"..., 4096) = 4096` + "\n", 0},
		{"a firewall is looked for", `41 sendmsg(9, {msg_iov=[{iov_base=[{nlmsg_len=20, nlmsg_type=NFNL_SUBSYS_NFTABLES<<8|NFT_MSG_GETTABLE, nlmsg_flags=NLM_F_REQUEST}` + "\n", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := countChanging(tc.trace); got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
		})
	}
}
