package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// octets in the middle of something with pointers: png's decoder has such a buffer.
type mixed struct {
	name   *string
	buffer [16 << 10]byte
	next   *mixed
}

func TestABodyIsReadIntoAnything(t *testing.T) {
	_, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		name := "into"
		into := &mixed{name: &name, next: &mixed{name: &name}}
		n, err := io.ReadFull(r.Body, into.buffer[:])
		if err != nil || strings.Trim(string(into.buffer[:]), "x") != "" {
			t.Error(n, err)
		}
		io.WriteString(w, "read")
	})
	request := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 16384\r\n\r\n" + strings.Repeat("x", 16384)
	if got := ask(t, addr, request, 3); got[2] != "read" {
		t.Error(got)
	}
}

// More than a turn accepts, while nobody answers.
func TestManyComeAtOnce(t *testing.T) {
	arrived, all := make(chan struct{}, 400), make(chan struct{})
	s, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-all
	})
	ask := func() net.Conn {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		io.WriteString(conn, get)
		return conn
	}
	ask()
	<-arrived
	l := s.its()
	l.seize() // somebody turns, and takes time
	for range 300 {
		ask()
	}
	l.lead()
	late := time.After(10 * time.Second)
	for n := range 300 {
		select {
		case <-arrived:
		case <-late:
			t.Fatalf("%d of 300 have come", n)
		}
	}
	close(all)
}

func TestACopyOfLessThanNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 10000), 0o600); err != nil {
		t.Fatal(err)
	}
	_, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(path)
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		w.Header().Set("Content-Type", "text/plain")
		io.CopyN(w, f, -1)
	})
	if got := ask(t, addr, get, 1); got[0] != "" {
		t.Errorf("%d octets", len(got[0]))
	}
}

func TestAHandlerThatLeavesItsGoroutine(t *testing.T) {
	contexts := make(chan context.Context, 1)
	_, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		contexts <- r.Context()
		runtime.Goexit()
	})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, get)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != http.StatusInternalServerError {
		t.Errorf("%v %v", answer, err)
	}
	select {
	case <-(<-contexts).Done():
	case <-time.After(10 * time.Second):
		t.Error("its context goes on")
	}
}

// The end of an answer waits for somebody who turns and takes time, and its deadline comes.
func TestADeadlineWhileTheEndWaits(t *testing.T) {
	flushed, go_on := make(chan struct{}), make(chan struct{})
	s, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		http.NewResponseController(w).SetWriteDeadline(time.Now().Add(300 * time.Millisecond))
		w.(http.Flusher).Flush()
		flushed <- struct{}{}
		<-go_on
		io.WriteString(w, "the end")
	})
	got := make(chan []string, 1)
	go func() { got <- ask(t, addr, get, 1) }()
	<-flushed
	l := s.its()
	l.seize() // somebody turns, and takes time
	close(go_on)
	for waiting := 0; waiting == 0; runtime.Gosched() {
		l.mu.Lock()
		waiting = len(l.ops)
		l.mu.Unlock()
	}
	time.Sleep(400 * time.Millisecond) // the deadline is what is tested
	l.mu.Lock()
	if len(l.ops) != 1 {
		t.Errorf("%d things are asked of a request that has ended", len(l.ops))
	}
	l.mu.Unlock()
	l.lead()
	if answer := <-got; answer[0] != "the end" {
		t.Error(answer)
	}
}

func TestAServerServesOnce(t *testing.T) {
	s, _ := begin(t, func(http.ResponseWriter, *http.Request) {})
	for s.its() == nil {
		runtime.Gosched()
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); !errors.Is(err, ErrState) {
		t.Error(err)
	}
}
