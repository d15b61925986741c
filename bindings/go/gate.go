package gateway

import (
	"os"
	"syscall"
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
	if err := g.control(syscall.EPOLL_CTL_ADD); err != nil {
		syscall.Close(fd)
		return gate{}, os.NewSyscallError("epoll_ctl", err)
	}
	// The poller takes only what does not block, and this never does.
	if err := syscall.SetNonblock(fd, true); err != nil {
		syscall.Close(fd)
		return gate{}, os.NewSyscallError("fcntl", err)
	}
	g.file = os.NewFile(uintptr(fd), "gateway")
	return g, nil
}

// shut lets nobody know of what comes from now on.
func (g *gate) shut() {
	if !g.isShut {
		g.isShut = g.control(syscall.EPOLL_CTL_DEL) == nil
	}
}

// open lets the poller know, also of what has come already.  What is added anew is looked at, and told of; where
// only the events of an entry change, the kernel says nothing when it has told of the entry before.
func (g *gate) open() {
	if g.isShut {
		g.isShut = g.control(syscall.EPOLL_CTL_ADD) != nil
	}
}

func (g *gate) control(op int) error {
	return syscall.EpollCtl(g.fd, op, g.server, &syscall.EpollEvent{Events: syscall.EPOLLIN})
}
