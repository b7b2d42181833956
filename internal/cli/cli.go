// Package cli is what the commands have in common: flags that can also come from the environment, and exit codes
// that units and checks can rely on. It knows no command and does no work of its own.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The exit codes of every command.
const (
	OK      = 0
	Failed  = 1 // it was tried, or looked at, and is not as it should be
	Usage   = 2 // the command line makes no sense; nothing was tried
	Changes = 2 // "plan" alone: there is something to do
)

// Exit is an error that carries its own exit code. A nil Err is silent.
type Exit struct {
	Code int
	Err  error
}

func (e Exit) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit status %d", e.Code)
	}
	return e.Err.Error()
}

func (e Exit) Unwrap() error { return e.Err }

// Usagef is an error of the command line.
func Usagef(format string, a ...any) error { return Exit{Usage, fmt.Errorf(format, a...)} }

// Run executes root with args until it is done or SIGINT or SIGTERM comes, prints its error as one line a fault,
// and returns the exit code. It gives root a --version. Only root may have a PersistentPreRunE.
func Run(root *cobra.Command, args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := false // what cobra complains of before a command begins is the command line
	pre := root.PersistentPreRunE
	root.PersistentPreRunE = func(cmd *cobra.Command, args []string) error {
		began = true
		if pre == nil {
			return nil
		}
		return pre(cmd, args)
	}
	root.SilenceErrors, root.SilenceUsage = true, true
	root.Version = Version()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return OK
	}
	exit := Exit{Code: Failed, Err: err}
	if !began {
		exit.Code = Usage
		err = flagError(err)
	}
	_ = errors.As(err, &exit)
	if exit.Err != nil {
		for line := range strings.Lines(err.Error()) {
			fmt.Fprintf(root.ErrOrStderr(), "%s: %s\n", root.Name(), strings.TrimSuffix(line, "\n"))
		}
	}
	return exit.Code
}

// EnvName is the environment variable of a flag: what names says, else WG_ and the flag's name in capitals.
func EnvName(flag string, names map[string]string) string {
	if n, ok := names[flag]; ok {
		return n
	}
	return "WG_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// ShowEnv adds the environment variable of each flag to its help. names holds those that follow no rule.
func ShowEnv(fs *pflag.FlagSet, names map[string]string) {
	fs.VisitAll(func(f *pflag.Flag) { f.Usage += " [$" + EnvName(f.Name, names) + "]" })
}

// FromEnv sets every flag that the command line left alone from its environment variable. An empty variable is as
// one that is not set. names holds those that follow no rule.
func FromEnv(fs *pflag.FlagSet, names map[string]string, getenv func(string) string) error {
	var errs []error
	fs.VisitAll(func(f *pflag.Flag) {
		env := EnvName(f.Name, names)
		v := strings.TrimSpace(getenv(env))
		if f.Changed || v == "" || f.Name == "help" {
			return
		}
		if err := fs.Set(f.Name, v); err != nil {
			errs = append(errs, badValue(env, err))
		}
	})
	if len(errs) > 0 {
		return Exit{Usage, errors.Join(errs...)}
	}
	return nil
}

// Logger writes to w: as text, or as JSON where logs are collected. level and format are flag values.
func Logger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, Usagef("--log-level: %q: debug, info, warn or error is wanted", level)
	}
	opts := &slog.HandlerOptions{Level: l}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, Usagef("--log-format: %q: text or json is wanted", format)
}
