package apply

import (
	"context"
	"time"
)

// missing is a file in force that is not there. What it brought up stays.
func (i *iface) missing(ctx context.Context, l *look) {
	i.right = false
	if l.status.Applied == "" {
		l.status.Warnings = append(l.status.Warnings, i.files.path+": not there yet")
		return
	}
	if i.gone.IsZero() {
		i.gone = time.Now()
	}
	since := time.Since(i.gone)
	switch {
	case since < i.Settle: // an editor may be about to put it back
		l.status = i.status
		l.again = i.Settle - since
	case i.GoneAfter > 0 && since >= i.GoneAfter:
		if err := i.System.Delete(ctx, i.name); err != nil {
			l.fail(err)
			return
		}
		l.status.Applied, l.status.Peers = "", nil
		i.log.Info("taken down", "reason", i.files.path+" is gone for "+i.GoneAfter.String())
	default:
		what := i.files.path + ": gone; the interface stays as it is"
		if i.GoneAfter > 0 {
			what += ", until it is gone for " + i.GoneAfter.String()
			l.again = i.GoneAfter - since
		}
		l.status.Warnings = append(l.status.Warnings, what)
	}
}
