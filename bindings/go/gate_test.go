package gateway

import (
	"syscall"
	"testing"
	"time"
)

// Of what comes while it is shut the poller hears when it is opened, and not before.
func TestAGateThatWasShut(t *testing.T) {
	var pipe [2]int
	if err := syscall.Pipe2(pipe[:], syscall.O_CLOEXEC|syscall.O_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(pipe[0])
	defer syscall.Close(pipe[1])
	g, err := newGate(pipe[0])
	if err != nil {
		t.Fatal(err)
	}
	conn, err := g.file.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan string)
	go conn.Read(func(uintptr) bool {
		var octets [8]byte
		if n, _ := syscall.Read(pipe[0], octets[:]); n > 0 {
			heard <- string(octets[:n])
		}
		return false
	})
	say := func(word string) {
		if _, err := syscall.Write(pipe[1], []byte(word)); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(word string) {
		t.Helper()
		select {
		case got := <-heard:
			if got != word {
				t.Fatalf("%q, not %q", got, word)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("nobody told the poller of %q", word)
		}
	}
	for i := range 100 {
		say("open")
		hear("open")
		g.shut()
		say("shut")
		if i%2 == 1 { // to look makes the kernel forget that the poller was told
			var events [1]syscall.EpollEvent
			if n, err := syscall.EpollWait(g.fd, events[:], 0); n != 0 || err != nil {
				t.Fatalf("the gate is not shut: %d, %v", n, err)
			}
		}
		g.open()
		hear("shut")
	}
	g.file.Close()
}
