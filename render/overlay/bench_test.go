package overlay

import (
	"fmt"
	"testing"

	"wg-kube/templates/wgquick"
)

// BenchmarkBuild renders a hub's file with the last proposal at hand.
func BenchmarkBuild(b *testing.B) { benchmark(b, Build) }

// BenchmarkBuilder does so again and again, which is what one changed Node costs.
func BenchmarkBuilder(b *testing.B) { benchmark(b, new(Builder).Build) }

// Each Node claims two prefixes; one of ten wants another's.
func benchmark(b *testing.B, build func(Self, Snapshot, *wgquick.Config, Policy) (*wgquick.Config, []Rejection)) {
	for _, count := range []int{10, 100, 1000, 10_000} {
		b.Run(fmt.Sprintf("nodes=%d", count), func(b *testing.B) {
			var s Snapshot
			for i := range count {
				ip, pods := fmt.Sprintf("100.96.%d.%d", i/250, 2+i%250), fmt.Sprintf("10.%d.%d.0/24", i/250, i%250)
				claim := ip + "/32," + pods
				if i%10 == 9 {
					claim += ",10.0.0.0/16"
				}
				n := node(fmt.Sprintf("n%d", i), "allowed-ips="+claim, "endpoint=203.0.113.1:51820")
				k := key("n")
				k[0], k[1] = byte(i>>8), byte(i)
				n.Annotations[kubePrefix+AnnotationPublicKey] = k.String()
				s.Nodes = append(s.Nodes, n)
			}
			p := Policy{Prefix: kubePrefix}
			prev, _ := build(us(Hub), s, nil, p)
			if len(prev.Peers) != count {
				b.Fatalf("%d peers", len(prev.Peers))
			}
			b.ReportAllocs()
			for b.Loop() {
				build(us(Hub), s, prev, p)
			}
		})
	}
}
