package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// inContainer is the environment variable that makes a copy of this test a container.
const inContainer = "WGKUBE_CONTAINER"

// container is a program in an image, as a container runtime would have it: the file system of the image, read-only,
// with the mounts, the user, the capabilities and the filter that it is given, and with a /proc/sys that cannot be
// written.
type container struct {
	Image        string // its root
	Mounts       []mount
	UID, GID     int
	Groups       []int
	Capabilities []int
	Filter       []bpf.RawInstruction // of system calls; empty: none
	Args, Env    []string
}

type mount struct {
	From, To string
	ReadOnly bool
}

// become turns this process into the container, and returns only if it cannot.
func become(spec string) error {
	var c container
	if err := json.Unmarshal([]byte(spec), &c); err != nil {
		return err
	}
	runtime.LockOSThread() // namespaces, root and credentials are those of this thread
	root, err := c.mount()
	if err != nil {
		return err
	}
	for id := range unix.CAP_LAST_CAP + 1 {
		if !slices.Contains(c.Capabilities, id) {
			// A kernel may know fewer.
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(id), 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("capability %d: %w", id, err)
			}
		}
	}
	if err := errors.Join(unix.Chroot(root), unix.Chdir("/"), unix.Setgroups(c.Groups),
		unix.Setresgid(c.GID, c.GID, c.GID), unix.Setresuid(c.UID, c.UID, c.UID),
		unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), install(c.Filter)); err != nil {
		return err
	}
	return unix.Exec(c.Args[0], c.Args, c.Env)
}

// mount makes the file system, which is gone with the process.
func (c *container) mount() (root string, err error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return "", err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", err
	}
	// What the image lacks to mount on is made above it.
	const scratch = "/run/container"
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return "", err
	}
	if err := unix.Mount("tmpfs", scratch, "tmpfs", 0, "mode=755"); err != nil {
		return "", err
	}
	upper, work, root := scratch+"/upper", scratch+"/work", scratch+"/root"
	for _, dir := range []string{upper, work, root} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return "", err
		}
	}
	if err := unix.Mount("overlay", root, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", c.Image, upper, work)); err != nil {
		return "", fmt.Errorf("overlay: %w", err)
	}
	mounts := append([]mount{{"/proc", "/proc", false}, {"/proc/sys", "/proc/sys", true}, {"/sys", "/sys", true}}, c.Mounts...)
	for _, m := range mounts {
		if err := m.on(root); err != nil {
			return "", fmt.Errorf("%s: %w", m.To, err)
		}
	}
	return root, readOnly(root)
}

func (m mount) on(root string) error {
	to := filepath.Join(root, m.To)
	if !strings.HasPrefix(m.To, "/proc/") {
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount(m.From, to, "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if !m.ReadOnly {
		return nil
	}
	return readOnly(to)
}

func readOnly(path string) error {
	return unix.Mount("", path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
}
