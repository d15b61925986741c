package gateway

import (
	"fmt"
	"os"
	"syscall"
	"time"
)

// A gate is between a server's descriptor and the runtime's poller: an epoll that watches the one and is
// watched by the other.  While somebody turns the server again and again it is shut: each request that came
// meanwhile would wake a thread, which would find that nothing is left to do.
type gate struct {
	file   *os.File // for the poller: readable when the server is, and the gate is open
	fd     int      // of file
	server int      // the descriptor that is watched
	isShut bool     // of whoever turns
}

func newGate(server int) (gate, error) {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return gate{}, os.NewSyscallError("epoll_create1", err)
	}
	g := gate{fd: fd, server: server}
	if err := g.control(syscall.EPOLL_CTL_ADD, syscall.EPOLLIN); err != nil {
		syscall.Close(fd)
		return gate{}, os.NewSyscallError("epoll_ctl", err)
	}
	// The poller takes only what does not block, and this never does.
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return gate{}, os.NewSyscallError("fcntl", err)
	}
	g.file = os.NewFile(uintptr(fd), "gateway")
	if err := g.file.SetDeadline(time.Time{}); err != nil {
		// Of one file the kernel lets an epoll of epolls of epolls know 100 times.
		g.file.Close()
		return gate{}, fmt.Errorf("the runtime's poller does not take the server: too many workers share its listeners? %w", err)
	}
	return g, nil
}

// shut lets nobody know of what comes from now on.
func (g *gate) shut() {
	if !g.isShut {
		g.isShut = g.control(syscall.EPOLL_CTL_MOD, 0) == nil
	}
}

// open lets the poller know, also of what has come already.
func (g *gate) open() {
	if !g.isShut {
		return
	}
	// What the poller was told of before is forgotten when it is looked at in vain; else the kernel would take it
	// for told already.
	var none [1]syscall.EpollEvent
	_, _ = syscall.EpollWait(g.fd, none[:], 0)
	g.isShut = g.control(syscall.EPOLL_CTL_MOD, syscall.EPOLLIN) != nil
}

func (g *gate) control(op int, events uint32) error {
	return syscall.EpollCtl(g.fd, op, g.server, &syscall.EpollEvent{Events: events})
}
