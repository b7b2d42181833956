// Package pipeline holds the two halves to their contract, and runs the whole of it on small machines: Nodes on a real
// API server, wg-render and wg-apply as programs, real devices, and the real wg-quick beside them. It holds nothing
// but these tests.
package pipeline
