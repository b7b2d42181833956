package deploy

import (
	"debug/elf"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"wg-kube/internal/lab"
)

func TestMain(m *testing.M) {
	if spec := os.Getenv(inContainer); spec != "" {
		fmt.Fprintln(os.Stderr, become(spec))
		os.Exit(127)
	}
	lab.Main(m)
}

var built struct {
	once sync.Once
	root string
	err  error
}

// image builds the image, once, and returns the root of its file system, the same on every host.
func image(t *testing.T) (root string) {
	t.Helper()
	needGroups(t)
	if _, err := exec.LookPath("buildah"); err != nil {
		lab.Skip(t, "buildah is not installed (Debian: buildah)")
	}
	programs := filepath.Dir(lab.Build(t, "wg-kube/cmd/wg-render"))
	lab.Build(t, "wg-kube/cmd/wg-apply")
	built.once.Do(func() { built.root, built.err = buildImage(programs) })
	must(t, built.err)
	return built.root
}

// buildImage leaves nothing but the file system: what buildah keeps is in folders of its own, and goes. Behind the
// wall it has no network, which an image FROM scratch does not need.
func buildImage(programs string) (root string, err error) {
	dir, err := os.MkdirTemp("", "image-")
	if err != nil {
		return "", err
	}
	store, root := filepath.Join(dir, "store"), filepath.Join(dir, "root")
	defer os.RemoveAll(store)
	cmd := exec.Command("buildah", "--root", store+"/root", "--runroot", store+"/run", "--storage-driver", "vfs",
		"build", "--isolation", "chroot", "--output", "type=local,dest="+root, "--file", "Dockerfile", programs)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	return root, os.Chmod(dir, 0o755)
}

// needGroups skips a test where there is one user only, as behind the wall of an ordinary user.
func needGroups(t *testing.T) {
	t.Helper()
	lab.Need(t)
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	if err := os.Chown(file, 65532, 65532); err != nil {
		lab.Skip(t, "needs root, to be another user")
	}
}

func TestImageHoldsTheProgramsAlone(t *testing.T) {
	root := image(t)
	var files []string
	must(t, filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, strings.TrimPrefix(path, root))
		}
		return err
	}))
	if !slices.Equal(files, []string{"/wg-apply", "/wg-render"}) {
		t.Errorf("it holds %q", files)
	}
	for _, name := range files {
		program, err := elf.Open(root + name)
		must(t, err)
		defer program.Close()
		if libraries, err := program.ImportedLibraries(); err != nil || len(libraries) > 0 || program.Section(".interp") != nil {
			t.Errorf("%s is not linked statically: %q, %v", name, libraries, err)
		}
	}
}

// What calls methods by names that the linker does not see, as text/template does, is linked with every method of every
// type. It makes wg-apply a third larger, and most of a small program is in memory.
func TestMethodsThatNobodyCallsAreNotLinked(t *testing.T) {
	const uncalled = "net/http.(*Request).MultipartReader"
	for _, name := range []string{"wg-apply", "wg-render"} {
		program, err := elf.Open(lab.Build(t, "wg-kube/cmd/"+name))
		must(t, err)
		defer program.Close()
		symbols, err := program.Symbols()
		must(t, err)
		if slices.ContainsFunc(symbols, func(s elf.Symbol) bool { return s.Name == uncalled }) {
			t.Errorf("%s has %s: \"go build -ldflags=-dumpdep\" shows what needs it as <ReflectMethod>", name, uncalled)
		}
	}
}
