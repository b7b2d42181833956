package kernel

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
)

// parityFile is a file that both programs are given.
type parityFile struct {
	name  string // "wire/dual-stack"; of a mutant "wire/dual-stack~3"
	world string // the script that makes the machine
	conf  string
}

// asked reports whether wg-apply is told to run hooks and to set DNS.
func (f parityFile) asked() bool { return strings.HasPrefix(f.name, "asked/") }

// parityFiles reads testdata/parity. The files are in the order of their names.
func parityFiles(t *testing.T) []parityFile {
	t.Helper()
	archives, err := filepath.Glob("../../testdata/parity/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	worlds, confs := map[string]string{}, map[string]string{}
	for _, name := range archives {
		archive, err := txtar.ParseFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range archive.Files {
			if world, ok := strings.CutSuffix(f.Name, ".sh"); ok {
				worlds[world] = string(f.Data)
				continue
			}
			name := strings.TrimSuffix(f.Name, ".conf")
			if _, ok := confs[name]; ok {
				t.Fatalf("%s is there twice", f.Name)
			}
			confs[name] = string(f.Data)
		}
	}
	var files []parityFile
	for name, conf := range confs {
		world, ok := worlds[path.Dir(name)]
		if !ok {
			t.Fatalf("%s: there is no world %s", name, path.Dir(name))
		}
		files = append(files, parityFile{name, world, conf})
	}
	slices.SortFunc(files, func(a, b parityFile) int { return strings.Compare(a.name, b.name) })
	return files
}

// mutants are n files that are made of two others of the same world, always the same ones.
func mutants(files []parityFile, n int) []parityFile {
	rng := rand.New(rand.NewPCG(3, 20260223))
	var out []parityFile
	for i := range n {
		a := files[rng.IntN(len(files))]
		var kin []parityFile
		for _, f := range files {
			if f.world == a.world {
				kin = append(kin, f)
			}
		}
		b := kin[rng.IntN(len(kin))]
		out = append(out, parityFile{fmt.Sprintf("%s~%d", a.name, i), a.world, mutate(rng, a.conf, b.conf)})
	}
	return out
}

// fraction is one file in ten, always the same ones.
func fraction(files []parityFile) (some []parityFile) {
	for i := 0; i < len(files); i += 10 {
		some = append(some, files[i])
	}
	return some
}

// userModeLinux reports whether a process takes milliseconds to start.
func userModeLinux() bool {
	b, err := os.ReadFile("/proc/cpuinfo")
	return err == nil && strings.Contains(string(b), "User Mode Linux")
}

var (
	prefixLength = regexp.MustCompile(`/\d+\b`)
	settings     = regexp.MustCompile(`(?m)^\w+ = .*\n`)
)

// mutate makes another file out of two: what a person might do to a file, one to three times.
func mutate(rng *rand.Rand, a, b string) string {
	for range 1 + rng.IntN(3) {
		lines := strings.SplitAfter(strings.TrimSuffix(a, "\n"), "\n")
		i := rng.IntN(len(lines))
		switch rng.IntN(7) {
		case 0: // a line less
			a = strings.Join(slices.Delete(lines, i, i+1), "")
		case 1: // a line twice
			a = strings.Join(slices.Insert(lines, i, lines[i]), "")
		case 2: // a setting of the other, of the interface if it begins with one
			if theirs := settings.FindAllString(b, -1); len(theirs) > 0 {
				a = strings.Replace(a, "\n", "\n"+theirs[rng.IntN(len(theirs))], 1)
			}
		case 3: // the other's peers
			if at := strings.Index(b, "[Peer]"); at >= 0 {
				a += "\n" + b[at:]
			}
		case 4: // two lines change places
			j := rng.IntN(len(lines))
			lines[i], lines[j] = lines[j], lines[i]
			a = strings.Join(lines, "")
		case 5: // another prefix length
			if at := prefixLength.FindAllStringIndex(a, -1); len(at) > 0 {
				p := at[rng.IntN(len(at))]
				a = a[:p[0]] + "/" + strconv.Itoa(rng.IntN(34)) + a[p[1]:]
			}
		case 6: // no prefix length
			if at := prefixLength.FindAllStringIndex(a, -1); len(at) > 0 {
				p := at[rng.IntN(len(at))]
				a = a[:p[0]] + a[p[1]:]
			}
		}
		if !strings.HasSuffix(a, "\n") {
			a += "\n"
		}
	}
	return a
}
