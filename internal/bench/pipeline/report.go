package pipeline

import "wg-kube/internal/bench"

// Tables are what a run shows, in this order.
func Tables() []bench.Table {
	return []bench.Table{
		{Title: "One peer is added: from the rename of the file to the device and the route", Size: "peers",
			Series: []string{floor, addedInForce, addedProposal, addedUnmarked, syncconf}},
		{Title: "The whole interface, with a route for each peer", Size: "peers",
			Series: []string{upInForce, upProposal, setconf, quickUp}},
		{Title: "What else a peer costs that is added", Size: "peers",
			Series: []string{messagesInForce, messagesProposal, packetsSent, packetsLost}},
		{Title: "At rest", Size: "peers",
			Series: []string{restInForce, restProposal, restWrites, memoryInForce, memoryProposal}},
		{Title: "One prefix more in an annotation, on a real API server", Size: "nodes",
			Series: []string{toWatch, toDevice, moreThan}},
		{Title: "Many Nodes annotated at once", Size: "nodes",
			Series: []string{burstTook, burstFiles, burstMade}},
		{Title: "A cluster at rest", Size: "nodes",
			Series: []string{restHubRender, restHubApply, clusterWrites, clusterRequest, renderOfHub, applyOfHub, renderOfSpoke, applyOfSpoke}},
	}
}

// Plots are what a run draws.
func Plots() []bench.Plot {
	return []bench.Plot{
		{File: "added", Title: "One peer is added", X: "peers", Y: "ms until the device has it (median)",
			Series: []string{addedInForce, addedProposal, floor, syncconf}},
		{File: "bring-up", Title: "The whole interface is brought up", X: "peers", Y: "ms until the last route (median)",
			Series: []string{upInForce, upProposal, setconf, quickUp}},
	}
}

// Targets are what was promised.
func Targets() []bench.Target {
	const (
		added = "one peer added, file in force"
		hand  = "one peer added, file in force without an end mark"
		via   = "one peer added, through a proposal"
		up    = "whole bring-up"
	)
	targets := []bench.Target{
		{What: added, Series: addedInForce, Size: 10_000, AtMost: 3, Times: []string{floor}},
		{What: added, Series: addedInForce, Size: 10_000, AtMost: 1. / 20, Times: []string{syncconf}},
		{What: added, Series: addedInForce, Size: 1_000, AtMost: 60},
		{What: added, Series: addedInForce, Size: 100, AtMost: 15},
		{What: hand, Series: addedUnmarked, Size: 10_000, AtMost: 3, Times: []string{floor}},
		{What: hand, Series: addedUnmarked, Size: 1_000, AtMost: 60},
		{What: hand, Series: addedUnmarked, Size: 100, AtMost: 15},
		{What: via, Series: addedProposal, Size: 10_000, AtMost: 4, Times: []string{floor}},
		{What: via, Series: addedProposal, Size: 10_000, AtMost: 1. / 20, Times: []string{syncconf}},
		{What: via, Series: addedProposal, Size: 1_000, AtMost: 60},
		{What: via, Series: addedProposal, Size: 100, AtMost: 15},
		{What: up, Series: upInForce, Size: 10_000, AtMost: 1.5, Times: []string{setconf}},
		{What: up, Series: upInForce, Size: 10_000, AtMost: 1. / 20, Times: []string{quickUp}},
		{What: "messages that change state, one peer added", Series: messagesInForce, Constant: true},
		{What: "messages that change state, through a proposal", Series: messagesProposal, Constant: true},
		{What: "rest, file in force", Series: restInForce, Size: 10_000, AtMost: 0.5},
		{What: "rest, proposal", Series: restProposal, Size: 10_000, AtMost: 0.5},
		{What: "files written at rest", Series: restWrites, Size: 10_000, AtMost: 0},
		{What: "memory, file in force", Series: memoryInForce, Size: 10_000, AtMost: 80},
		{What: "memory, proposal", Series: memoryProposal, Size: 10_000, AtMost: 80},
	}
	for _, n := range []int{10, 100, 1_000, 10_000} {
		targets = append(targets, bench.Target{What: "packets lost by another peer", Series: packetsLost, Size: n, AtMost: 0})
	}
	for _, n := range []int{1_000, 5_000} {
		targets = append(targets,
			bench.Target{What: "annotation to device, more than a bare watch, median", Series: moreThan, Size: n, AtMost: 100},
			bench.Target{What: "annotation to device, more than a bare watch, p99", Series: moreThan, Size: n, Of: bench.P99, AtMost: 300})
	}
	return append(targets,
		bench.Target{What: "burst of 1,000 Nodes: device complete after the last event", Series: burstTook, Size: 5_000, AtMost: 2_000},
		bench.Target{What: "burst of 1,000 Nodes: proposals", Series: burstFiles, Size: 5_000, AtMost: 5},
		bench.Target{What: "files written at rest", Series: clusterWrites, Size: 5_000, AtMost: 0},
		bench.Target{What: "API requests at rest", Series: clusterRequest, Size: 5_000, AtMost: 0},
		bench.Target{What: "memory, hub, wg-render", Series: renderOfHub, Size: 5_000, AtMost: 90},
		bench.Target{What: "memory, spoke at rest, wg-render", Series: renderOfSpoke, Size: 5_000, AtMost: 40},
		bench.Target{What: "memory, spoke at rest, wg-apply", Series: applyOfSpoke, Size: 5_000, AtMost: 15})
}
