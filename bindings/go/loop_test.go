package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// begin serves handler in this process until the test has ended.
func begin(t *testing.T, handler http.HandlerFunc, options ...Option) (*Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Handler: handler, Options: options}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-ended; err != http.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, l.Addr().String()
}

// ask sends a request on a connection of its own, and then as many more as are asked for.
func ask(t *testing.T, addr, request string, times int) []string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var bodies []string
	from := bufio.NewReader(conn)
	for range times {
		if _, err := io.WriteString(conn, request); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(from, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, string(body))
	}
	return bodies
}

const get = "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

func (s *Server) its() *loop {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.loop
}

func (l *loop) crossings() uint64 { return l.rounds.Load() }

// A lonely request costs a crossing when it comes, and one when it is answered.
func TestASmallRequestCrossesTwice(t *testing.T) {
	s, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	})
	post := "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
	for _, request := range []string{get, post} {
		ask(t, addr, request, 10)
		before := s.its().crossings()
		ask(t, addr, request, 500)
		// A connection more comes and goes; the clock has something to say now and then.
		if n := s.its().crossings() - before; n > 1050 {
			t.Errorf("%d crossings for 500 requests", n)
		}
	}
}

// Of many requests one crossing is made.
func TestManyRequestsShareACrossing(t *testing.T) {
	arrived, all := make(chan struct{}, 64), make(chan struct{})
	s, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-all
		io.WriteString(w, "together")
	})
	var clients sync.WaitGroup
	for range 64 {
		clients.Add(1)
		go func() {
			defer clients.Done()
			if got := ask(t, addr, get, 1); got[0] != "together" {
				t.Error(got)
			}
		}()
	}
	for range 64 {
		<-arrived
	}
	l := s.its()
	l.seize() // somebody turns, and takes time
	before := l.crossings()
	close(all)
	for waiting := 0; waiting < 64; runtime.Gosched() {
		l.mu.Lock()
		waiting = len(l.ops)
		l.mu.Unlock()
	}
	l.lead()
	if n := l.crossings() - before; n > 8 {
		t.Errorf("%d crossings for 64 answers that were there at once", n)
	}
	clients.Wait()
}

// What is lent to the library is its owner's again when Write returns.
func TestAWriterHasItsMemoryBack(t *testing.T) {
	_, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		chunk := make([]byte, 256<<10)
		for _, c := range "abcdefgh" {
			for i := range chunk {
				chunk[i] = byte(c)
			}
			w.Write(chunk)
		}
	})
	got := ask(t, addr, get, 1)[0]
	for _, c := range "abcdefgh" {
		if want := strings.Repeat(string(c), 256<<10); !strings.HasPrefix(got, want) {
			t.Fatalf("not only %q", c)
		}
		got = got[256<<10:]
	}
}

// A handler may close the connection, as with net/http; in an answer that is whole, and in one that goes on.
func TestAHandlerClosesTheConnection(t *testing.T) {
	_, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			w.Header().Set("Connection", "close")
		}
		io.WriteString(w, "some")
		if r.URL.Path == "/flushed" {
			w.(http.Flusher).Flush()
		}
		io.WriteString(w, "thing")
	})
	for _, path := range []string{"/whole", "/flushed"} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		from := bufio.NewReader(conn)
		for _, it := range []string{"/", path} {
			io.WriteString(conn, strings.Replace(get, "/", it, 1))
			answer, err := http.ReadResponse(from, nil)
			if err != nil {
				t.Fatal(it, err)
			}
			body, err := io.ReadAll(answer.Body)
			if string(body) != "something" || err != nil || answer.Close != (it != "/") {
				t.Errorf("%s: %q, %v, %v", it, body, err, answer.Close)
			}
		}
		if _, err := from.ReadByte(); err != io.EOF {
			t.Error(path, err)
		}
		conn.Close()
	}
}
