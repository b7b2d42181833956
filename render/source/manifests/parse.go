package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"wg-kube/render/overlay"
	"wg-kube/render/source"
)

// manifest is what a file says.
type manifest struct {
	nodes  []overlay.Node
	unread []string // the names of Nodes that are there, and not in nodes
	whole  bool     // every Node in it could be told by name at least
}

// parse reads every document of a file. Where one is broken, the Nodes stay that it may have held before: all of
// last that no other document holds if it does not even say its name.
func parse(path string, b []byte, last manifest) (manifest, error) {
	r := reading{have: map[string]bool{}, broken: map[string]bool{}}
	for i, doc := range documents(b) {
		r.document(fmt.Sprintf("%s: document %d", filepath.Base(path), i+1), doc)
	}
	if r.objects == 0 && len(r.faults) == 0 {
		r.fault(filepath.Base(path), errors.New("there is no object in it"))
	}
	m := manifest{nodes: r.nodes, whole: !r.blind}
	for _, n := range last.nodes {
		if !r.have[n.Name] && (r.blind || r.broken[n.Name]) {
			m.nodes = append(m.nodes, n)
			r.have[n.Name] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(r.broken)) {
		if !r.have[name] {
			m.unread = append(m.unread, name)
		}
	}
	return m, errors.Join(r.faults...)
}

// reading is what was found in a file so far.
type reading struct {
	nodes   []overlay.Node
	have    map[string]bool // the names of nodes
	broken  map[string]bool // the names of Nodes that could not be read
	blind   bool            // something could not be read that may be any Node
	objects int
	faults  []error
}

func (r *reading) fault(at string, err error) {
	r.blind = true
	r.faults = append(r.faults, fmt.Errorf("%s: %w", at, err))
}

// documents splits b into documents of YAML: one ends before a line "---", and after a line "...". Directives and
// comments before a "---" belong to what follows. A file of JSON is one document.
func documents(b []byte) [][]byte {
	var docs [][]byte
	start, at := 0, 0
	said := false // there is more than directives and comments between start and at
	end := func(to int) {
		if said {
			docs = append(docs, b[start:to])
			start, said = to, false
		}
	}
	for line := range bytes.Lines(b) {
		if marks(line, "---") {
			end(at)
			said = true
		}
		at += len(line)
		switch {
		case marks(line, "..."):
			end(at)
			start = at
		case len(bytes.TrimSpace(line)) > 0 && line[0] != '#' && line[0] != '%':
			said = true
		}
	}
	end(at)
	return docs
}

// marks reports whether line is this marker, with or without something behind it.
func marks(line []byte, marker string) bool {
	rest, ok := bytes.CutPrefix(line, []byte(marker))
	return ok && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0)
}

// document reads one document of YAML, or the objects of JSON that stand one behind the other.
func (r *reading) document(at string, doc []byte) {
	if bytes.HasPrefix(bytes.TrimSpace(doc), []byte("{")) && r.stream(at, doc) {
		return
	}
	object, err := yaml.YAMLToJSON(doc)
	switch {
	case err != nil:
		r.fault(at, err)
	case !bytes.Equal(object, []byte("null")):
		r.object(at, object)
	}
}

// stream reads objects of JSON, and reports false if doc does not even begin with one.
func (r *reading) stream(at string, doc []byte) bool {
	d := json.NewDecoder(bytes.NewReader(doc))
	for i := 0; ; i++ {
		var object json.RawMessage
		err := d.Decode(&object)
		switch {
		case errors.Is(err, io.EOF):
			return true
		case err != nil && i == 0:
			return false
		case err != nil:
			r.fault(at, err)
			return true
		}
		r.object(at, object)
	}
}

// object reads a Node, or a list of them. An object of another kind is passed over.
func (r *reading) object(at string, b []byte) {
	r.objects++
	var o struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Items      []json.RawMessage `json:"items"`
	}
	if err := json.Unmarshal(b, &o); err != nil {
		r.fault(at, because(err))
		return
	}
	is := func(kind string) bool { return strings.EqualFold(o.Kind, kind) }
	switch {
	case o.Kind == "":
		r.fault(at, errors.New("kind: there is none"))
	case o.APIVersion != "v1" && o.APIVersion != "":
		// a Node of somebody else's API
	case is("Node"):
		r.node(at, b)
	case is("List") && o.Kind != "List", is("NodeList") && o.Kind != "NodeList":
		r.fault(at, fmt.Errorf("kind: %q: List or NodeList is wanted, in these letters", o.Kind))
	case o.Kind == "List" || o.Kind == "NodeList":
		for i, item := range o.Items {
			if o.Kind == "NodeList" {
				r.node(fmt.Sprintf("%s: items[%d]", at, i), item) // its items need not say their kind
			} else {
				r.object(fmt.Sprintf("%s: items[%d]", at, i), item)
			}
		}
	}
}

func (r *reading) node(at string, b []byte) {
	var named struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(b, &named); err != nil {
		r.fault(at, because(err))
		return
	}
	name := named.Metadata.Name
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		r.fault(at, fmt.Errorf("metadata.name: %q: a lower-case DNS name is wanted", name))
		return
	}
	at = fmt.Sprintf("%s: Node %s", at, name)
	node, err := readNode(b)
	switch {
	case err != nil:
		r.broken[name] = true
		r.faults = append(r.faults, fmt.Errorf("%s: %w", at, err))
	case r.have[name]:
		r.faults = append(r.faults, fmt.Errorf("%s: it is there a second time; the first counts", at))
	default:
		r.have[name] = true
		r.nodes = append(r.nodes, node)
	}
}

// readNode reads only what the overlay needs: what is wrong elsewhere in a Node does not matter here.
func readNode(b []byte) (overlay.Node, error) {
	var n struct {
		Kind     string `json:"kind"`
		Metadata struct {
			Name        string            `json:"name"`
			UID         types.UID         `json:"uid"`
			Created     string            `json:"creationTimestamp"`
			Labels      map[string]string `json:"labels"`
			Annotations map[string]string `json:"annotations"`
		} `json:"metadata"`
		Spec struct {
			PodCIDR  string   `json:"podCIDR"`
			PodCIDRs []string `json:"podCIDRs"`
		} `json:"spec"`
		Status struct {
			Addresses  []corev1.NodeAddress `json:"addresses"`
			Conditions []struct {
				Type   corev1.NodeConditionType `json:"type"`
				Status corev1.ConditionStatus   `json:"status"`
			} `json:"conditions"`
		} `json:"status"`
	}
	if err := json.Unmarshal(b, &n); err != nil {
		return overlay.Node{}, because(err)
	}
	if n.Kind != "Node" && n.Kind != "" {
		return overlay.Node{}, fmt.Errorf("kind: %q: Node is wanted, in these letters", n.Kind)
	}
	meta := n.Metadata
	var node corev1.Node
	node.Name, node.UID, node.Labels, node.Annotations = meta.Name, meta.UID, meta.Labels, meta.Annotations
	if meta.Created != "" {
		t, err := time.Parse(time.RFC3339, meta.Created)
		if err != nil {
			return overlay.Node{}, fmt.Errorf("metadata.creationTimestamp: %q: a time such as 2026-01-31T12:00:00Z is wanted", meta.Created)
		}
		node.CreationTimestamp = metav1.NewTime(t)
	}
	node.Spec.PodCIDR, node.Spec.PodCIDRs = n.Spec.PodCIDR, n.Spec.PodCIDRs
	node.Status.Addresses = n.Status.Addresses
	for _, c := range n.Status.Conditions {
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: c.Type, Status: c.Status})
	}
	return source.Node(&node), nil
}

// because says in words what encoding/json found, with the field first.
func because(err error) error {
	var wrong *json.UnmarshalTypeError
	if !errors.As(err, &wrong) {
		return err
	}
	want := wrong.Type.String()
	switch wrong.Type.Kind() {
	case reflect.String:
		want = "a string is wanted (true, no and 1 are strings in quotes only)"
	case reflect.Struct, reflect.Map:
		want = "an object is wanted"
	case reflect.Slice:
		want = "a list is wanted"
	}
	if wrong.Field == "" {
		return fmt.Errorf("%s where %s", wrong.Value, want)
	}
	return fmt.Errorf("%s: %s where %s", wrong.Field, wrong.Value, want)
}
