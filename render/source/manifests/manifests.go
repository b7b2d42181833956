// Package manifests is the source of Nodes that needs no API server: files of YAML or JSON, as "kubectl get nodes"
// prints them or a person writes them. It passes on what the files say and judges no claim.
//
// One broken file or document costs no other anything, and the Nodes that it held when it could last be read stay.
package manifests

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"wg-kube/render/overlay"
	"wg-kube/render/source/files"
)

const (
	quiet   = 100 * time.Millisecond // a file is read when nobody has touched it for this long
	maxSize = 256 << 20              // bytes; 5,000 Nodes with their images are 60 MB
)

// Source is a file or a folder of manifests. It is synced when the path is there and each file has been read once.
type Source struct {
	*files.Files[manifest]
	log *slog.Logger

	mu      sync.Mutex
	doubles map[string]string // Nodes that two files hold, by name: what was said of them last
}

// New starts to watch path: a file, or a folder of *.yaml, *.yml and *.json. It need not exist. Run reads it.
func New(path string, log *slog.Logger) (*Source, error) {
	s := &Source{log: log}
	f, err := files.New(files.Config[manifest]{
		Path:     path,
		Suffixes: []string{".yaml", ".yml", ".json"},
		Quiet:    quiet,
		MaxSize:  maxSize,
		Parse:    parse,
		Report:   s.report,
		Log:      log,
	})
	s.Files = f
	return s, err
}

// Snapshot returns the Nodes by name. Of files that hold the same Node the first by name counts.
func (s *Source) Snapshot() (nodes []overlay.Node, synced bool) {
	all, synced := s.Files.Snapshot()
	nodes, doubles := merge(all)
	s.reportDoubles(doubles)
	return nodes, synced
}

// Unread returns the Nodes in files that could not be read without a fault since the start: by name, and any if one
// of them does not even say all names. What a file held when it could be read is in the snapshot.
func (s *Source) Unread() (names []string, any bool) {
	all, _ := s.Files.Snapshot()
	for _, f := range all {
		if !f.Good {
			names = append(names, f.Value.unread...)
			any = any || !f.Value.whole
		}
	}
	return names, any
}

// merge returns each Node once, and for those that are in several files which one counts.
func merge(all []files.File[manifest]) (nodes []overlay.Node, doubles map[string]string) {
	in := map[string]string{}
	doubles = map[string]string{}
	for _, f := range all {
		for _, n := range f.Value.nodes {
			if first, ok := in[n.Name]; ok {
				doubles[n.Name] = fmt.Sprintf("%s holds it too; %s counts", f.Path, first)
				continue
			}
			in[n.Name] = f.Path
			nodes = append(nodes, n)
		}
	}
	slices.SortFunc(nodes, func(a, b overlay.Node) int { return strings.Compare(a.Name, b.Name) })
	return nodes, doubles
}

// report logs what is wrong with a file, one line a fault, and that it is mended.
func (s *Source) report(path string, err error) {
	if err == nil {
		s.log.Info("fault of the manifest is gone", "path", path)
		return
	}
	for line := range strings.Lines(err.Error()) {
		s.log.Warn("manifest cannot be read", "path", path, "err", strings.TrimSpace(line))
	}
}

func (s *Source) reportDoubles(doubles map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(doubles)) {
		if s.doubles[name] != doubles[name] {
			s.log.Warn("Node is in two manifests", "node", name, "err", doubles[name])
		}
	}
	s.doubles = doubles
}
