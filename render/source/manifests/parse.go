package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"wg-kube/render/overlay"
	"wg-kube/render/source"
)

// parse reads every document of a file. Where one is broken, the Nodes stay that it may have held before: all of
// last that no other document holds if it does not even say its name.
func parse(path string, b []byte, last []overlay.Node) ([]overlay.Node, error) {
	r := reading{have: map[string]bool{}, broken: map[string]bool{}}
	for i, doc := range documents(b) {
		r.document(fmt.Sprintf("%s: document %d", filepath.Base(path), i+1), doc)
	}
	if r.objects == 0 && len(r.faults) == 0 {
		r.fault(filepath.Base(path), errors.New("there is no object in it"))
	}
	nodes := r.nodes
	for _, n := range last {
		if !r.have[n.Name] && (r.blind || r.broken[n.Name]) {
			nodes = append(nodes, n)
		}
	}
	return nodes, errors.Join(r.faults...)
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

// documents splits b at the lines that begin a document of YAML, "---". A file of JSON has none.
func documents(b []byte) [][]byte {
	var docs [][]byte
	start, at := 0, 0
	for line := range bytes.Lines(b) {
		rest, marker := bytes.CutPrefix(line, []byte("---"))
		if marker && at > start && (len(rest) == 0 || bytes.IndexByte([]byte(" \t\r\n"), rest[0]) >= 0) {
			docs = append(docs, b[start:at])
			start = at
		}
		at += len(line)
	}
	return append(docs, b[start:])
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
	switch {
	case o.Kind == "":
		r.fault(at, errors.New("kind: there is none"))
	case o.APIVersion != "v1" && o.APIVersion != "":
		// a Node of somebody else's API
	case o.Kind == "List" || o.Kind == "NodeList":
		for i, item := range o.Items {
			if o.Kind == "NodeList" {
				r.node(fmt.Sprintf("%s: items[%d]", at, i), item) // its items need not say their kind
			} else {
				r.object(fmt.Sprintf("%s: items[%d]", at, i), item)
			}
		}
	case o.Kind == "Node":
		r.node(at, b)
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
	// Only what the overlay needs is read: what is wrong elsewhere in a Node does not matter here.
	var n struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
		Spec     struct {
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
		r.broken[name] = true
		r.faults = append(r.faults, fmt.Errorf("%s: %w", at, because(err)))
		return
	}
	if r.have[name] {
		r.faults = append(r.faults, fmt.Errorf("%s: it is there a second time; the first counts", at))
		return
	}
	node := corev1.Node{ObjectMeta: n.Metadata}
	node.Spec.PodCIDR, node.Spec.PodCIDRs = n.Spec.PodCIDR, n.Spec.PodCIDRs
	node.Status.Addresses = n.Status.Addresses
	for _, c := range n.Status.Conditions {
		node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{Type: c.Type, Status: c.Status})
	}
	r.have[name] = true
	r.nodes = append(r.nodes, source.Node(&node))
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
