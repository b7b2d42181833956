package cli

import (
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// FuzzFromEnv sets flags of every type from anything: each is taken, or there is a line that names the variable.
func FuzzFromEnv(f *testing.F) {
	f.Add("wg1", "51820", "30s", "true", "0.5", "a,b")
	f.Add(" ", "-1", "5", "yes", "NaN", `"`)
	f.Add("\x00", "99999999999999999999", "1e9h", "\n", "1e999", "\"a\nb,")
	f.Fuzz(func(t *testing.T, text, number, duration, boolean, float, list string) {
		fs := pflag.NewFlagSet("t", pflag.ContinueOnError)
		fs.String("text", "", "")
		fs.Uint16("number", 0, "")
		fs.Duration("duration", 0, "")
		fs.Bool("boolean", false, "")
		fs.Float64("float", 0, "")
		fs.StringSlice("list", nil, "")
		env := map[string]string{"TEXT": text, "WG_NUMBER": number, "WG_DURATION": duration, "WG_BOOLEAN": boolean, "WG_FLOAT": float, "WG_LIST": list}
		err := FromEnv(fs, map[string]string{"text": "TEXT"}, func(name string) string { return env[name] })
		if err == nil {
			return
		}
		for line := range strings.Lines(err.Error()) {
			name, _, _ := strings.Cut(line, ":")
			if _, ok := env[name]; !ok && !strings.Contains(list, "\n") {
				t.Errorf("no variable is named: %q", line)
			}
		}
	})
}
