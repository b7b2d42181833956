// Package live runs wg-apply as a program on real devices, with packets on their way: what a change costs those it
// does not concern, what is taken over from wg-quick and given back to it, how drift is repaired and endpoints are
// kept. It holds nothing but these tests, and looks at a device only as a person would, with ip(8) and wg(8).
// They take minutes: make test-live runs them alone.
package live
