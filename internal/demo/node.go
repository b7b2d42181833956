package main

import (
	"net/netip"
	"strings"
	"text/template"
)

// node is a Node of the cluster, and the machine that it is.
type node struct {
	Name      string
	Hub       bool
	Underlay  netip.Addr // where the others reach it
	Overlay   netip.Addr // where it is within the tunnel
	PublicKey string
}

// manifest is the Node as wg-render would have left it in the API server.
func (n node) manifest() (string, error) {
	var b strings.Builder
	err := manifest.Execute(&b, n)
	return b.String(), err
}

var manifest = template.Must(template.New("node").Parse(`apiVersion: v1
kind: Node
metadata:
  name: {{.Name}}
  labels:
    wireguard.kube/{{if .Hub}}hub{{else}}peer{{end}}: "true"
  annotations:
    wireguard.kube/public-key: {{.PublicKey}}
{{- if .Hub}}
    wireguard.kube/endpoint: {{.Underlay}}:51820
    wireguard.kube/allowed-ips: 100.96.0.0/16
{{- else}}
    wireguard.kube/allowed-ips: {{.Overlay}}/32
{{- end}}
status:
  addresses:
  - {type: InternalIP, address: {{.Overlay}}}
{{- if .Hub}}
  - {type: ExternalIP, address: {{.Underlay}}}
{{- end}}
  conditions:
  - {type: Ready, status: "True"}
`))
