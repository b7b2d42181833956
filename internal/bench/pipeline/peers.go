package pipeline

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"time"
)

// What is measured at each number of peers.
const (
	addedInForce  = "wg-apply: a file in force"
	addedUnmarked = "wg-apply: a file in force without an end mark"
	addedProposal = "wg-apply: a proposal"
	floor         = "floor: read the device, set one peer"
	syncconf      = "wg syncconf <(wg-quick strip)"

	upInForce  = "wg-apply: a file in force appears"
	upProposal = "wg-apply: a proposal appears"
	setconf    = "wg setconf, routes over one netlink socket"
	quickUp    = "wg-quick up"

	packetsSent      = "packets sent by a peer while others come and go"
	packetsLost      = "packets lost of them"
	messagesInForce  = "messages that change something, file in force"
	messagesProposal = "messages that change something, proposal"
	memoryInForce    = "wg-apply in memory, file in force"
	memoryProposal   = "wg-apply in memory, proposal"
	restInForce      = "wg-apply at rest, file in force"
	restProposal     = "wg-apply at rest, proposal"
	restWrites       = "files written at rest"
)

// peers measures with n peers.
func (m *measuring) peers(ctx context.Context, n int) error {
	m.say("%d peers: bring-up", n)
	file, proposed, hand, err := m.bringUp(ctx, n)
	defer func() {
		for _, h := range []*hub{file, proposed} {
			if h != nil {
				h.Close()
			}
		}
		if hand != nil {
			hand.Close()
		}
	}()
	if err != nil {
		return err
	}
	m.say("%d peers: one more", n)
	if err := m.oneMore(ctx, n, file, proposed, hand); err != nil {
		return err
	}
	m.say("%d peers: messages, memory and packets", n)
	if err := m.count(ctx, n, file, proposed); err != nil {
		return err
	}
	for name, h := range map[string]*hub{memoryInForce: file, memoryProposal: proposed} {
		if err := m.memory(name, n, h.apply); err != nil {
			return err
		}
	}
	if m.Rest > 0 && n == slices.Max(m.Sizes) {
		m.say("%d peers: at rest, for %s", n, m.Rest)
		percent, written, err := m.atRest(ctx, slices.Concat(file.folders(), proposed.folders()), file.apply, proposed.apply)
		if err != nil {
			return err
		}
		m.Add(restInForce, "% of a core", n, percent[0])
		m.Add(restProposal, "% of a core", n, percent[1])
		m.Add(restWrites, "files", n, float64(len(written)))
	}
	return m.lost(ctx, n, file)
}

// count counts the messages for one more peer.
func (m *measuring) count(ctx context.Context, n int, file, proposed *hub) error {
	if m.inKernel {
		return nil // strace does not tell what WireGuard is asked for
	}
	for name, h := range map[string]*hub{messagesInForce: file, messagesProposal: proposed} {
		sent, err := h.messages(ctx, h.apply, func() error {
			_, err := h.add(ctx)
			return err
		})
		if errors.Is(err, exec.ErrNotFound) {
			m.note("Messages are not counted: strace is not installed.")
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := h.remove(ctx); err != nil {
			return err
		}
		m.Add(name, "messages", n, float64(sent))
	}
	return nil
}

// bringUp brings interfaces up in turn, a few times, and leaves the last ones.
func (m *measuring) bringUp(ctx context.Context, n int) (file, proposed *hub, hand *byHand, err error) {
	times := min(3, m.Rounds)
	if n <= m.QuickUp {
		h, err := m.newByHand(n)
		if err != nil {
			return nil, nil, nil, err
		}
		took, err := h.quickUp(m.inKernel)
		h.Close()
		if err != nil {
			return nil, nil, nil, err
		}
		m.times(quickUp, n, took)
	} else {
		m.note(fmt.Sprintf("wg-quick up is timed with at most %d peers, since it takes a minute with 10,000: --wg-quick-up says with how many.", m.QuickUp))
	}
	for i := range times {
		var took [3]time.Duration
		if hand, err = m.newByHand(n); err != nil {
			return file, proposed, hand, err
		}
		if took[2], err = hand.setconf(ctx, m.inKernel); err != nil {
			return file, proposed, hand, err
		}
		if file, took[0], err = m.newHub(ctx, n, false); err != nil {
			return file, proposed, hand, err
		}
		if proposed, took[1], err = m.newHub(ctx, n, true); err != nil {
			return file, proposed, hand, err
		}
		m.times(upInForce, n, took[0])
		m.times(upProposal, n, took[1])
		m.times(setconf, n, took[2])
		if i < times-1 {
			file.Close()
			proposed.Close()
			hand.Close()
		}
	}
	return file, proposed, hand, nil
}

// oneMore adds one peer and takes it away again, round after round, in each way in turn.
func (m *measuring) oneMore(ctx context.Context, n int, file, proposed *hub, hand *byHand) error {
	unmarked := *file
	c := crowd(n + 1)
	c.Interface.PrivateKey, c.End = hubKey, false
	var err error
	if unmarked.texts[1], err = c.Marshal(); err != nil {
		return err
	}
	end := time.Now().Add(m.Bounded)
	warmUp := min(warmUp, m.Rounds)
	for round := range warmUp + m.Rounds {
		if round >= warmUp+few && time.Now().After(end) {
			break
		}
		for _, way := range []struct {
			name   string
			rounds int
			do     func() (time.Duration, error)
		}{
			{floor, m.Rounds, hand.floor},
			{addedInForce, m.Rounds, func() (time.Duration, error) { return file.there(ctx) }},
			{addedProposal, m.Rounds, func() (time.Duration, error) { return proposed.there(ctx) }},
			{addedUnmarked, m.Rounds, func() (time.Duration, error) { return unmarked.there(ctx) }},
			{syncconf, few, hand.syncconf},
		} {
			if round >= warmUp+way.rounds {
				continue
			}
			took, err := way.do()
			if err != nil {
				return err
			}
			if round >= warmUp {
				m.times(way.name, n, took)
			}
		}
	}
	return nil
}

// there adds one peer, and takes it away again when the time is taken.
func (h *hub) there(ctx context.Context) (time.Duration, error) {
	took, err := h.add(ctx)
	if err != nil {
		return 0, err
	}
	_, err = h.remove(ctx)
	return took, err
}
