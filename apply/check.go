package apply

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"wg-kube/apply/plan"
	"wg-kube/templates/wgquick"
)

// Check returns every fault of a file, without looking at the machine. As a proposal it may say no more than
// Allowed; what wg-render wrote is always checked as one. A file in a folder "*.peers.d" is a static fragment:
// it has peers and no interface.
func Check(path string, asProposal bool) error {
	f, _, err := open(path, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := readAll(path, f, 0)
	if err != nil {
		return err
	}
	if full, err := filepath.Abs(path); err == nil && strings.HasSuffix(filepath.Dir(full), ".peers.d") {
		_, err := wgquick.ParseAllowed(path, b, wgquick.Allow{Interface: []string{}})
		return err
	}
	var allowed wgquick.Allow
	if asProposal || proposed(b) {
		allowed = Allowed()
	}
	c, err := parse(path, b, &wgquick.Reader{Allow: allowed})
	if err != nil {
		return err
	}
	if proposed(b) && !c.End {
		return fmt.Errorf("%s: cut short or edited: its last line is not the end mark that wg-render wrote", path)
	}
	_, err = plan.Want(anywhere(c), strings.TrimSuffix(filepath.Base(path), ".conf"), plan.Underlay{})
	return faultsIn(path, err)
}

// anywhere is c without what only the machine knows the meaning of: the way to an endpoint, and the names of
// routing tables.
func anywhere(c *wgquick.Config) *wgquick.Config {
	out := *c
	out.Peers = slices.Clone(c.Peers)
	for i := range out.Peers {
		out.Peers[i].Endpoint = wgquick.Endpoint{}
	}
	if _, err := strconv.ParseUint(c.Interface.Table, 0, 32); err != nil && c.Interface.Table != "off" {
		out.Interface.Table = ""
	}
	return &out
}
