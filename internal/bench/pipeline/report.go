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
		via   = "one peer added, through a proposal"
		up    = "whole bring-up"
	)
	targets := []bench.Target{
		{What: added, Series: addedInForce, Size: 10_000, AtMost: 3, Times: []string{floor}},
		{What: added, Series: addedInForce, Size: 10_000, AtMost: 1. / 20, Times: []string{syncconf}},
		{What: added, Series: addedInForce, Size: 1_000, AtMost: 60},
		{What: added, Series: addedInForce, Size: 100, AtMost: 15},
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
	return targets
}
