package apiserver

import (
	"bytes"
	"os/exec"
	"strings"
	"syscall"
)

// process is a program that can be killed and started again. It does not outlive the test that started it.
type process struct {
	path string
	args []string
	cmd  *exec.Cmd
	log  *bytes.Buffer
	done chan struct{} // closed when it has ended
}

func newProcess(path string, args ...string) *process { return &process{path: path, args: args} }

func (p *process) start() error {
	p.log = new(bytes.Buffer)
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	p.done = done
	cmd := p.cmd
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(done)
	}()
	return nil
}

// kill ends the process, if it runs, and waits for its end.
func (p *process) kill() {
	if p == nil || p.done == nil {
		return
	}
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.done
}

// said returns the last line of the log of a process that has ended, or of one that is ended for it.
func (p *process) said() string {
	p.kill()
	return lastLine(p.log.String())
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
