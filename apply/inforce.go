package apply

import "wg-kube/internal/watch"

// readInForce reads the file in force. A link is followed, as wg-quick follows it: people keep /etc/wireguard in
// git. What it leads to must be root's, and nobody else's to write.
func readInForce(path string, settle *watch.Settler) (*text, error) {
	f, fi, err := open(path, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := trusted(fi); err != nil {
		return nil, plain(path, err)
	}
	return read(path, f, fi, settle)
}
