package wgquick_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"wg-kube/templates/wgquick"
)

// A field that somebody adds and forgets in SameMeaning fails here.
func TestSameMeaningLooksAtEveryField(t *testing.T) {
	comments := map[string]bool{"Head": true, "Refused": true, "End": true, "Origin": true, "Hub": true, "Held": true, "Unjudged": true, "Line": true}
	check := func(field string, c *wgquick.Config) {
		if got, want := full(t).SameMeaning(c), comments[field]; got != want {
			t.Errorf("with another %s: %v, want %v", field, got, want)
		}
	}
	for i := range reflect.TypeFor[wgquick.Config]().NumField() {
		f := reflect.TypeFor[wgquick.Config]().Field(i)
		if f.Name == "Interface" {
			continue
		}
		c := full(t)
		reflect.ValueOf(c).Elem().Field(i).SetZero()
		check(f.Name, c)
	}
	for i := range reflect.TypeFor[wgquick.Interface]().NumField() {
		c := full(t)
		reflect.ValueOf(&c.Interface).Elem().Field(i).SetZero()
		check(reflect.TypeFor[wgquick.Interface]().Field(i).Name, c)
	}
	for i := range reflect.TypeFor[wgquick.Peer]().NumField() {
		c := full(t)
		reflect.ValueOf(&c.Peers[0]).Elem().Field(i).SetZero()
		c.Peers[0].Held = time.Unix(1, 0) // zero in full
		c.Peers[0].Line = 1
		check(reflect.TypeFor[wgquick.Peer]().Field(i).Name, c)
	}
}

func TestSameMeaningOfNothing(t *testing.T) {
	a := &wgquick.Config{}
	b := &wgquick.Config{Peers: []wgquick.Peer{}, Interface: wgquick.Interface{Address: []netip.Prefix{}}}
	if !a.SameMeaning(b) || !b.SameMeaning(a) {
		t.Error("nil and empty differ")
	}
}
