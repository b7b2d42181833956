package kube_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	typedeventsv1 "k8s.io/client-go/kubernetes/typed/events/v1"

	"wg-kube/internal/retry"
	"wg-kube/render"
	"wg-kube/render/overlay"
	"wg-kube/render/source/kube"
	"wg-kube/render/source/peers"
	"wg-kube/templates/wgquick"
)

var (
	_ render.Answerer = (*kube.Source)(nil)
	_ render.Answerer = (*peers.Source)(nil)
)

// events are those about an object.
func (c cluster) events(namespace, uid string) []eventsv1.Event {
	c.t.Helper()
	list, err := typedeventsv1.NewForConfigOrDie(c.Admin()).Events(namespace).List(context.Background(),
		metav1.ListOptions{FieldSelector: "regarding.uid=" + uid})
	if err != nil {
		c.t.Fatal(err)
	}
	return list.Items
}

func refused(kind, name, uid string, claims ...string) overlay.Verdict {
	v := overlay.Verdict{Origin: wgquick.Origin{Kind: kind, Name: name, UID: uid}}
	for _, c := range claims {
		field, reason, _ := strings.Cut(c, ": ")
		v.Rejections = append(v.Rejections, overlay.Rejection{Origin: v.Origin, Field: field, Reason: reason, Value: "x"})
	}
	return v
}

// tell has the first node tell all that is not told.
func tell(t *testing.T, a render.Answerer, verdicts ...overlay.Verdict) {
	t.Helper()
	tellAs(t, true, a, verdicts...)
}

func tellAs(t *testing.T, first bool, a render.Answerer, verdicts ...overlay.Verdict) {
	t.Helper()
	for _, v := range a.Untold(verdicts, first) {
		if err := a.Answer(context.Background(), v); err != nil {
			t.Fatal(err)
		}
	}
}

// TestEvents: one for what is refused of an object, however often it is said and by however many.
func TestEvents(t *testing.T) {
	api := newCluster(t)
	api.create(node("greedy", []string{"peer=true"}, nil))
	uid := string(api.get("greedy").UID)
	ns := api.namespace()
	secret, err := api.secrets(ns).Create(context.Background(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	greedy := refused(overlay.KindNode, "greedy", uid, "allowed-ips: too much", "public-key: not a key", "vpc-ip: not set yet")
	greedy.Rejections[2].Waiting = true
	then := refused(overlay.KindNode, "greedy", uid, "public-key: not a key")
	then.Rejections[0].Value = "y" // what the author tried next
	waiting := refused(overlay.KindSecret, ns+"/s", string(secret.UID), "public-key: not set yet")
	waiting.Rejections[0].Waiting = true
	long := strings.Repeat("n", 200) + ".example.com"
	for range 2 { // two nodes, or one that was started anew
		src := run(t, api.Admin(), kube.Config{Node: long, Role: overlay.Hub})
		src.has("greedy")
		for range 2 {
			tell(t, src, greedy,
				refused(overlay.KindSecret, ns+"/s", string(secret.UID), "public-key: not set"),
				refused(overlay.KindWireGuardPeer, ns+"/p", "uid-p", "publicKey: not set")) // which has a status
			tell(t, src, then, waiting)
		}
		src.stop()
	}
	var got []string
	for _, e := range append(api.events("default", uid), api.events(ns, string(secret.UID))...) {
		got = append(got, fmt.Sprint(e.Regarding.Kind, " ", e.Regarding.Name, " ", e.Type, " ", e.Reason, " ", e.ReportingController, ": ", e.Note))
		if e.EventTime.IsZero() || e.Series != nil {
			t.Errorf("%+v", e)
		}
		if by := e.ReportingInstance; len(by) > 128 || !strings.HasPrefix(by, "nnn") || !strings.HasSuffix(by, ".example.com") {
			t.Errorf("it is said by %s", by)
		}
	}
	want := []string{
		`Node greedy Warning ClaimRefused wg-render: allowed-ips "x": too much; public-key "x": not a key`,
		`Node greedy Warning ClaimRefused wg-render: public-key "y": not a key`,
		`Secret s Warning ClaimRefused wg-render: public-key "x": not set`,
	}
	if diff := cmp.Diff(want, got, cmpopts.SortSlices(strings.Compare)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}

	// Who finds ever new things to claim is not heard for ever, and who makes the object anew no longer.
	src := run(t, api.Admin(), kube.Config{Node: "hub", Role: overlay.Hub})
	src.has("greedy")
	for i := range 30 {
		v := refused(overlay.KindNode, "greedy", fmt.Sprint("uid-", ns, i/10), "allowed-ips: too much")
		v.Rejections[0].Value = fmt.Sprint(i)
		tell(t, src, v)
	}
	for i, want := range []int{10, 10, 0} {
		if n := len(api.events("default", fmt.Sprint("uid-", ns, i))); n != want {
			t.Errorf("%d events, want %d", n, want)
		}
	}
}

// TestEveryClaimIsTold, of those that fill one Event and more.
func TestEveryClaimIsTold(t *testing.T) {
	api := newCluster(t)
	src := run(t, api.Admin(), kube.Config{Node: "hub", Role: overlay.Hub})
	src.has()
	var claims []string
	for i := range 12 {
		claims = append(claims, fmt.Sprintf("field-%d: %s", i, strings.Repeat("why ", 60)))
	}
	uid := "uid-" + api.namespace()
	tell(t, src, refused(overlay.KindNode, "wordy", uid, claims...))
	events := api.events("default", uid)
	if len(events) != 3 {
		t.Errorf("%d events, want 3: of claims with some 250 bytes four go into 1024", len(events))
	}
	told := strings.Join(notes(events), "; ")
	for _, claim := range claims {
		if field, _, _ := strings.Cut(claim, ":"); !strings.Contains(told, field+` "x": why`) {
			t.Errorf("%s is not told", field)
		}
	}
}

// TestWhatTheServerNeverTakes is not tried again; what it does not take now is.
func TestWhatTheServerNeverTakes(t *testing.T) {
	api := newCluster(t)
	src := run(t, api.Admin(), kube.Config{Node: "hub", Role: overlay.Hub})
	src.has()
	uid := "uid-" + api.namespace()
	invalid := refused(overlay.KindNode, "Of No Form", uid, "public-key: not a key")
	if err := src.Answer(t.Context(), invalid); !errors.Is(err, retry.ErrNever) || !strings.Contains(err.Error(), "metadata.name") {
		t.Errorf("an Event of no form: %v", err)
	}
	lost := refused(overlay.KindSecret, "nowhere/s", uid, "public-key: not a key")
	if err := src.Answer(t.Context(), lost); err == nil || errors.Is(err, retry.ErrNever) {
		t.Errorf("an Event in a namespace that may come: %v", err)
	}
	if untold := src.Untold([]overlay.Verdict{invalid, lost}, true); !cmp.Equal(untold, []overlay.Verdict{lost}) {
		t.Errorf("to be told: %v", untold)
	}
}

// TestWhoComesNowIsToldNow, while hundreds of Nodes and of somebody's Secrets are waiting.
func TestWhoComesNowIsToldNow(t *testing.T) {
	api := newCluster(t)
	admin := api.Admin()
	admin.QPS = -1
	api.nodes = typedcorev1.NewForConfigOrDie(admin).Nodes()
	api.define()
	ns := api.namespace()
	wrong := map[string]string{"public-key": "x", "endpoint": "y", "allowed-ips": "1,2,3,4,5,6,7,8,9"}
	bad := func(name, key string) corev1.Node {
		return node(name, []string{"peer=true"}, []string{"public-key=" + key, "endpoint=y", "allowed-ips=1,2,3,4,5,6,7,8,9"})
	}
	api.create(node("us", []string{"hub=true"}, nil))
	for i := range 300 {
		api.create(bad(fmt.Sprint("bad-", i), "x"))
	}
	for i := range 100 {
		api.createSecret(ns, fmt.Sprint("bad-", i), wrong)
		api.createPeer(ns, fmt.Sprint("bad-", i), `{"publicKey":"`+keyOf(fmt.Sprint("bad-", i))+`","allowedIPs":["127.0.0.0/8"]}`)
	}
	hub := runHub(t, api.Admin(), ns)
	sent := func(namespace string) int {
		list, err := typedeventsv1.NewForConfigOrDie(api.Admin()).Events(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	soon := func(what string, told func() bool) {
		t.Helper()
		before := sent(ns)
		took := hub.eventually(what, told)
		t.Logf("%s: after %v", what, took)
		if n := sent(ns) - before; n > 20 {
			t.Errorf("%s: after %d Events about Secrets", what, n)
		}
	}
	hub.eventually("it tells the first", func() bool { return sent(ns) >= 12 })
	hub.eventually("it tells more", func() bool { return sent(ns) >= 20 }) // not the newest of the first verdicts alone
	api.create(bad("aaa", "oops"))
	uid := string(api.get("aaa").UID)
	soon("a new Node is told", func() bool { return len(api.events("default", uid)) == 1 })
	api.patch("aaa", `{"metadata":{"annotations":{"wireguard.kube/public-key":"oh"}}}`)
	soon("and what it says next", func() bool { return len(api.events("default", uid)) == 2 })
	api.createPeer(ns, "aaa", `{"publicKey":"`+keyOf("aaa")+`","allowedIPs":["10.99.3.0/24"]}`)
	soon("a new WireGuardPeer is told", func() bool { cond, _ := api.condition(ns, "aaa"); return cond["status"] == "True" })
	if n := sent(ns); n > 95 {
		t.Errorf("%d Events about 100 Secrets: nothing was waiting any more", n)
	}
}

// condition of a WireGuardPeer; nil: none yet.
func (c cluster) condition(namespace, name string) (cond map[string]any, version string) {
	c.t.Helper()
	u, err := c.peers(namespace).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	all, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
	if len(all) == 1 {
		cond = all[0].(map[string]any)
	}
	return cond, u.GetResourceVersion()
}

// TestStatusOfAnotherPast: a server that was restored has an old status again, and is told anew.
func TestStatusOfAnotherPast(t *testing.T) {
	api := newCluster(t)
	api.define()
	ns := api.namespace()
	made := api.createPeer(ns, "office", `{"publicKey":"`+aliceKey+`","allowedIPs":["10.0.0.0/24"]}`)
	proxy := api.Proxy(t, api.Admin())
	hub := run(t, proxy.Config(), kube.Config{Node: "hub", Role: overlay.Hub}, func(server *kube.Source) render.Peers { return peers.New(server, ns) })
	hub.hasPeers("office")
	v := refused(overlay.KindWireGuardPeer, ns+"/office", string(made.GetUID()))
	v.Generation, v.Granted = 1, true
	is := func() any {
		time.Sleep(500 * time.Millisecond) // for the source to see what was written last
		tell(t, hub.others.(render.Answerer), v)
		cond, _ := api.condition(ns, "office")
		return cond["status"]
	}
	if now := is(); now != "True" {
		t.Fatalf("it says %v", now)
	}
	old := []byte(`{"status":{"conditions":[{"type":"Accepted","status":"False","reason":"Refused","message":"once","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`)
	if _, err := api.peers(ns).Patch(t.Context(), "office", types.MergePatchType, old, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	if now := is(); now != "False" {
		t.Errorf("somebody else wrote it, and now it says %v", now)
	}
	proxy.Cut()
	for tries := 0; is() != "True"; tries++ {
		if tries == 20 {
			t.Fatal("it is not written again")
		}
	}
}

// TestStatus: it says what became of a WireGuardPeer, is written when that changes, and two hubs that differ do not
// quarrel.
func TestStatus(t *testing.T) {
	api := newCluster(t)
	api.define()
	ns := api.namespace()
	ctx := context.Background()
	made := api.createPeer(ns, "office", `{"publicKey":"`+aliceKey+`","allowedIPs":["10.0.0.0/24"]}`)
	hub := func() running {
		return run(t, api.Admin(), kube.Config{Node: "hub", Role: overlay.Hub}, func(server *kube.Source) render.Peers { return peers.New(server, ns) })
	}
	a, b := hub(), hub()
	a.hasPeers("office")
	b.hasPeers("office")
	// answer waits until its source has seen what was written last.
	answer := func(r running, v overlay.Verdict) (cond map[string]any, version string) {
		t.Helper()
		time.Sleep(500 * time.Millisecond)
		tell(t, r.others.(render.Answerer), v)
		return api.condition(ns, "office")
	}
	v := refused(overlay.KindWireGuardPeer, ns+"/office", string(made.GetUID()))
	v.Generation, v.Granted = 1, true
	cond, first := answer(a, v)
	if cond["type"] != "Accepted" || cond["status"] != "True" || cond["reason"] != "Accepted" || cond["observedGeneration"] != int64(1) {
		t.Errorf("granted: %v", cond)
	}
	since := cond["lastTransitionTime"]
	restarted := hub()
	restarted.hasPeers("office")
	for _, r := range []running{a, b, restarted} {
		if _, again := answer(r, v); again != first {
			t.Error("what it says already is written again")
		}
	}
	time.Sleep(time.Second) // for another time
	partly := refused(overlay.KindWireGuardPeer, ns+"/office", string(made.GetUID()), "endpoint: no use", "allowedIPs: too much")
	partly.Generation, partly.Granted = 1, true
	cond, second := answer(b, partly)
	if cond["status"] != "True" || cond["reason"] != "PartlyRefused" || cond["message"] != `endpoint "x": no use; allowedIPs "x": too much` || cond["lastTransitionTime"] != since {
		t.Errorf("partly: %v", cond)
	}
	for _, r := range []struct {
		running
		overlay.Verdict
	}{{a, v}, {b, partly}} {
		if _, again := answer(r.running, r.Verdict); again != second {
			t.Error("two that differ quarrel")
		}
	}
	no := refused(overlay.KindWireGuardPeer, ns+"/office", string(made.GetUID()), "presharedKeySecretRef: none yet")
	no.Generation = 1
	if cond, _ = answer(a, no); cond["status"] != "False" || cond["reason"] != "Refused" || cond["lastTransitionTime"] == since {
		t.Errorf("refused: %v", cond)
	}
	no.Rejections[0].Waiting = true
	cond, third := answer(a, no)
	if cond["status"] != "False" || cond["reason"] != "Waiting" {
		t.Errorf("waiting: %v", cond)
	}

	// A verdict over what it said before is none over what it says now.
	patch := []byte(`{"spec":{"allowedIPs":["10.0.1.0/24"]}}`)
	if _, err := api.peers(ns).Patch(ctx, "office", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if cond, _ = answer(a, v); cond["reason"] != "Waiting" {
		t.Errorf("an old verdict is written: %v, after %s", cond, third)
	}
	if fields := api.managers(ns, "office"); !cmp.Equal(fields, []string{kube.FieldManager + " status"}) {
		t.Errorf("the status is written by %v", fields)
	}
}

// TestTwoThatDiffer: the word of the first stays, whoever is started anew; of the others one is written when it says
// something new, and when the first is gone.
func TestTwoThatDiffer(t *testing.T) {
	api := newCluster(t)
	api.define()
	ns := api.namespace()
	made := api.createPeer(ns, "office", `{"publicKey":"`+aliceKey+`","allowedIPs":["10.0.0.0/24"]}`)
	hub := func() render.Answerer {
		r := run(t, api.Admin(), kube.Config{Node: "hub", Role: overlay.Hub}, func(server *kube.Source) render.Peers { return peers.New(server, ns) })
		r.hasPeers("office")
		return r.others.(render.Answerer)
	}
	says := func(why string) overlay.Verdict {
		v := refused(overlay.KindWireGuardPeer, ns+"/office", string(made.GetUID()), "allowedIPs: "+why)
		v.Generation = 1
		return v
	}
	first, second, version := hub(), hub(), made.GetResourceVersion()
	step := func(what string, isFirst bool, by render.Answerer, v overlay.Verdict, want string, writes bool) {
		t.Helper()
		time.Sleep(500 * time.Millisecond) // for the source to see what was written last
		tellAs(t, isFirst, by, v)
		cond, now := api.condition(ns, "office")
		if cond["message"] != `allowedIPs "x": `+want || now != version != writes {
			t.Errorf("%s: %v, written: %t", what, cond["message"], now != version)
		}
		version = now
	}
	step("the first speaks", true, first, says("a"), "a", true)
	step("the second leaves it", false, second, says("b"), "a", false)
	step("the second, started anew", false, hub(), says("b"), "a", false)
	step("the first, started anew", true, hub(), says("a"), "a", false)
	step("the second comes to another judgement", false, second, says("c"), "c", true)
	step("the first has said its own", true, first, says("a"), "c", false)
	step("the first, started anew then", true, hub(), says("a"), "a", true)
	step("the second, once more", false, second, says("c"), "a", false)
	step("the second has become the first", true, second, says("c"), "c", true)
	step("and stays it", true, second, says("c"), "c", false)
	patch := []byte(`{"spec":{"allowedIPs":["10.0.1.0/24"]}}`)
	if _, err := api.peers(ns).Patch(t.Context(), "office", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	_, version = api.condition(ns, "office")
	next := func(why string) overlay.Verdict { v := says(why); v.Generation = 2; return v }
	step("of another generation the first speaks", true, first, next("d"), "d", true)
	step("and the second leaves it", false, second, next("e"), "d", false)
}

// managers are those who have written the status.
func (c cluster) managers(namespace, name string) (managers []string) {
	u, err := c.peers(namespace).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, m := range u.GetManagedFields() {
		if m.Subresource != "" {
			managers = append(managers, m.Manager+" "+m.Subresource)
		}
	}
	return managers
}
