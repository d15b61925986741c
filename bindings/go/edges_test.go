package gateway

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
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

// Whoever waits for a body does not do the work of the others meanwhile, for as long as there is some.
func TestAReaderIsNotKept(t *testing.T) {
	exchanges, start, read := make(chan *exchange, 1), make(chan bool), make(chan error, 3)
	s, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		exchanges <- r.Context().Value(exchangeKey{}).(*exchange)
		if r.URL.Path == "/reader" {
			<-start
		}
		_, err := io.ReadFull(r.Body, make([]byte, 1))
		read <- err
	})
	ask := func(path string) (net.Conn, *exchange) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		// More than comes along with a request.
		io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n")
		return conn, <-exchanges
	}
	waits := func(x *exchange) {
		for is := false; !is; runtime.Gosched() {
			x.mu.Lock()
			is = x.input != nil
			x.mu.Unlock()
		}
	}
	reader, _ := ask("/reader")
	one, first := ask("/")
	waits(first)
	two, second := ask("/")
	waits(second)
	l := s.its()
	l.seize()
	// The reader's round finds these two, and is kept where it tells the first of them; the next one, which
	// finds the third, is kept at that.
	first.mu.Lock()
	second.mu.Lock()
	io.WriteString(reader, "x")
	io.WriteString(one, "x")
	before := l.crossings()
	l.mu.Lock()
	l.turning = false
	l.mu.Unlock()
	close(start)
	for l.crossings() == before {
		runtime.Gosched()
	}
	io.WriteString(two, "x")
	l.mu.Lock()
	l.again = true
	l.mu.Unlock()
	first.mu.Unlock()
	late := time.After(10 * time.Second)
	for range 2 {
		select {
		case err := <-read:
			if err != nil {
				t.Error(err)
			}
		case <-late:
			t.Error("it turns the server, and does not read")
		}
	}
	second.mu.Unlock()
	<-read
}

// Without a logger a panic is on standard error, as with net/http.
func TestAPanicIsSeen(t *testing.T) {
	if os.Getenv("GATEWAY_TEST_PANICS") == "" {
		again := exec.Command(os.Args[0], "-test.run=^TestAPanicIsSeen$")
		again.Env = append(os.Environ(), "GATEWAY_TEST_PANICS=1")
		var said strings.Builder
		again.Stderr = &said
		if err := again.Run(); err != nil {
			t.Error(err)
		}
		for _, words := range []string{"panic serving 127.0.0.1", "edges_test.go:", "nobody logs this"} {
			if !strings.Contains(said.String(), words) {
				t.Errorf("not %q in %q", words, said.String())
			}
		}
		return
	}
	_, addr := begin(t, func(http.ResponseWriter, *http.Request) { panic("nobody logs this") })
	ask(t, addr, get, 1)
}

// Also one of a request that the library knows nothing of any more.
func TestALatePanicIsSeen(t *testing.T) {
	said := make(lines, 1)
	log.SetOutput(said)
	defer log.SetOutput(os.Stderr)
	_, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		// As when a deadline has come.
		r.Context().Value(exchangeKey{}).(*exchange).giveUp(0)
		panic("too late")
	})
	answer(t, addr, get)
	select {
	case line := <-said:
		if !strings.Contains(line, "too late\ngoroutine ") {
			t.Errorf("%q", line)
		}
	case <-time.After(10 * time.Second):
		t.Error("nothing is said")
	}
}

// lines is what a log writes.
type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}
