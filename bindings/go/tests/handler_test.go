package tests

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// exchange sends octets, and gives all that comes until the server closes or the time is over.
func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(deadline))
	return conn
}

func within(t *testing.T, what string, c <-chan error) {
	t.Helper()
	select {
	case err := <-c:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(deadline):
		t.Fatalf("waited for %s in vain", what)
	}
}

// A client that leaves ends the request's context, whatever the handler does meanwhile.
func TestClientLeaves(t *testing.T) {
	for _, test := range []struct {
		name    string
		request string
		handler func(http.ResponseWriter, *http.Request) error
	}{
		{"before an answer", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", func(w http.ResponseWriter, r *http.Request) error {
			<-r.Context().Done()
			return nil
		}},
		{"after a part of it", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", func(w http.ResponseWriter, r *http.Request) error {
			io.WriteString(w, "part")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return nil
		}},
		{"after its body", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody",
			func(w http.ResponseWriter, r *http.Request) error {
				io.ReadAll(r.Body)
				<-r.Context().Done()
				return nil
			}},
		{"while it is written to", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", func(w http.ResponseWriter, r *http.Request) error {
			for end := time.Now().Add(deadline); time.Now().Before(end); {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					<-r.Context().Done()
					return nil
				}
			}
			return errors.New("every write succeeded")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			done, entered := make(chan error, 1), make(chan error, 1)
			address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				entered <- nil
				err := test.handler(w, r)
				if err == nil && !errors.Is(r.Context().Err(), context.Canceled) {
					err = fmt.Errorf("the context ended with %v", r.Context().Err())
				}
				done <- err
			}), nil)
			conn := dial(t, address)
			io.WriteString(conn, test.request)
			within(t, "the handler", entered)
			if strings.Contains(test.name, "part") {
				if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
					t.Fatal(err)
				}
			}
			conn.Close()
			within(t, "the context's end", done)
		})
	}
}

// The context ends with the handler, too; it has the server and the local address.
func TestContext(t *testing.T) {
	contexts := make(chan context.Context, 1)
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		contexts <- r.Context()
		if s, ok := r.Context().Value(http.ServerContextKey).(*http.Server); !ok || s == nil {
			t.Errorf("no server in the context")
		}
		local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if !ok {
			t.Errorf("no local address in the context")
		}
		fmt.Fprintf(w, "%v %v", local, r.Context().Err())
	}), nil)
	if a := get(t, newTransport(t), address, "/"); a.Body != address+" <nil>" {
		t.Errorf("%q, and not %q", a.Body, address)
	}
	c := <-contexts
	select {
	case <-c.Done():
	case <-time.After(deadline):
		t.Error("the context did not end")
	}
}

// A panic before the head is a 500 and a log with its words; behind it the answer is cut.  The server goes on.
func TestPanics(t *testing.T) {
	var log logged
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/before":
			w.Header().Set("X-Half", "done")
			panic("no answer was begun")
		case "/runtime":
			_ = []string{}[len(r.Method)]
		case "/behind":
			io.WriteString(w, "begun")
			http.NewResponseController(w).Flush()
			panic(fmt.Errorf("in the middle"))
		case "/abort":
			io.WriteString(w, "begun")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, "fine")
	}), &log)
	tr := newTransport(t)
	for _, target := range []string{"/before", "/runtime"} {
		a := get(t, tr, address, target)
		if a.Status != 500 || a.Header.Get("X-Half") != "" {
			t.Errorf("%s: %+v", target, a)
		}
	}
	for _, target := range []string{"/behind", "/abort"} {
		a := ask(t, tr, address, request{name: target, target: target})
		if a.Status != 200 || a.Body != "begun" || !isCut(a.Err) {
			t.Errorf("%s: %+v", target, a)
		}
	}
	if a := get(t, tr, address, "/"); a.Body != "fine" {
		t.Errorf("after the panics: %+v", a)
	}
	for _, words := range []string{"no answer was begun", "index out of range [3]", "in the middle", "handler_test.go:"} {
		eventually(t, words+" in the log", func() bool { return strings.Contains(log.String(), words) })
	}
	if strings.Contains(log.String(), http.ErrAbortHandler.Error()) {
		t.Errorf("ErrAbortHandler was logged:\n%s", log.String())
	}
}

// isCut says whether a client saw that the answer is not whole: by a missing end, or by a reset.
func isCut(err error) bool {
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

// What net/http tells a handler that errs, ours does.
func TestHandlersThatErr(t *testing.T) {
	var log logged
	after := make(chan error, 1)
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/twice":
			w.WriteHeader(201)
			w.WriteHeader(500)
		case "/late":
			go func() {
				<-r.Context().Done()
				_, err := io.WriteString(w, "too late")
				after <- err
			}()
		case "/none":
			w.WriteHeader(204)
			if _, err := io.WriteString(w, "a body"); err != http.ErrBodyNotAllowed {
				t.Errorf("a body of a 204: %v", err)
			}
		case "/long":
			w.Header().Set("Content-Length", "4")
			if n, err := io.WriteString(w, "1234"); n != 4 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
			if _, err := io.WriteString(w, "5"); err != http.ErrContentLength {
				t.Errorf("more than was said: %v", err)
			}
		case "/short":
			w.Header().Set("Content-Length", "10")
			io.WriteString(w, "1234")
		case "/status":
			defer func() {
				if cause := fmt.Sprint(recover()); !strings.Contains(cause, "invalid WriteHeader code") {
					t.Errorf("WriteHeader(42): %v", cause)
				}
				w.WriteHeader(200)
			}()
			w.WriteHeader(42)
		case "/changed":
			w.WriteHeader(200)
			w.Header().Set("X-Late", "1")
		}
	}), &log)
	tr := newTransport(t)
	if a := get(t, tr, address, "/twice"); a.Status != 201 {
		t.Errorf("%+v", a)
	}
	eventually(t, "a word about the second WriteHeader", func() bool {
		return strings.Contains(log.String(), "http: superfluous response.WriteHeader call from") &&
			strings.Contains(log.String(), "handler_test.go:")
	})
	get(t, tr, address, "/late")
	select {
	case err := <-after:
		if err == nil {
			t.Error("a write after the handler had returned succeeded")
		}
	case <-time.After(deadline):
		t.Fatal("a write after the handler had returned hangs")
	}
	if a := get(t, tr, address, "/none"); a.Status != 204 || a.Body != "" {
		t.Errorf("%+v", a)
	}
	if a := get(t, tr, address, "/long"); a.Body != "1234" {
		t.Errorf("%+v", a)
	}
	if a := ask(t, tr, address, request{name: "/short", target: "/short"}); !isCut(a.Err) {
		t.Errorf("%+v", a)
	}
	if a := get(t, tr, address, "/status"); a.Status != 200 {
		t.Errorf("%+v", a)
	}
	if a := get(t, tr, address, "/changed"); a.Header.Get("X-Late") != "" {
		t.Errorf("%+v", a)
	}
}

// Bodies have the limits that the program sets.
func TestMaxBytes(t *testing.T) {
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1000))
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			http.Error(w, fmt.Sprintf("read %d of %d", len(body), large.Limit), 413)
			return
		}
		fmt.Fprintf(w, "%d %v", len(body), err)
	}), nil)
	tr := newTransport(t)
	tr.DisableKeepAlives = true
	for n, want := range map[int]string{0: "200 0 <nil>", 999: "200 999 <nil>", 1000: "200 1000 <nil>",
		1001: "413 read 1000 of 1000\n", 1000000: "413 read 1000 of 1000\n"} { // what is left is read, up to 1 MiB
		for _, header := range []string{"", "Transfer-Encoding: chunked"} {
			a := ask(t, tr, address, request{name: fmt.Sprint(n, " ", header), method: "POST", target: "/",
				header: header, body: strings.Repeat("x", n)})
			if got := fmt.Sprint(a.Status, " ", a.Body); got != want {
				t.Errorf("%d octets: %q, not %q", n, got, want)
			}
		}
	}
}

// A file is sent whole and in ranges, and from the disk without being copied through the program.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	text := strings.Repeat("0123456789", 1<<20)
	if err := os.WriteFile(filepath.Join(dir, "large"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	tr := newTransport(t)
	mux := http.NewServeMux()
	mux.Handle("/", http.FileServer(http.Dir(dir)))
	mux.HandleFunc("/copied", func(w http.ResponseWriter, r *http.Request) {
		f, err := os.Open(filepath.Join(dir, "large"))
		if err != nil {
			t.Error(err)
			return
		}
		defer f.Close()
		io.WriteString(w, "before ")
		n, err := w.(io.ReaderFrom).ReadFrom(io.LimitReader(f, 1000000))
		if n != 1000000 || err != nil {
			t.Errorf("ReadFrom: %d, %v", n, err)
		}
		f.Seek(10, io.SeekStart)
		if n, err := io.Copy(w, f); n != int64(len(text)-10) || err != nil {
			t.Errorf("Copy: %d, %v", n, err)
		}
		io.WriteString(w, " behind")
	})
	address := serve(t, mux, nil)
	for i := range 3 {
		if a := get(t, tr, address, "/large"); a.Body != text || a.Length != int64(len(text)) {
			t.Errorf("%d: %d octets of %d", i, len(a.Body), len(text))
		}
	}
	if a := get(t, tr, address, "/copied"); a.Body != "before "+text[:1000000]+text[10:]+" behind" {
		t.Errorf("copied: %d octets", len(a.Body))
	}
	a := ask(t, tr, address, request{name: "ranges", target: "/large", header: "Range: bytes=0-1,5000003-5000004"})
	if a.Status != 206 || !strings.Contains(a.Body, "\r\n01\r\n") || !strings.Contains(a.Body, "\r\n34\r\n") {
		t.Errorf("%+v", short(a))
	}
}

// A reverse proxy passes each piece on when it comes.
func TestReverseProxyStreams(t *testing.T) {
	next := make(chan bool)
	back := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for i := range 3 {
			fmt.Fprintf(w, "piece %d\n", i)
			http.NewResponseController(w).Flush()
			<-next
		}
	}), nil)
	to, _ := url.Parse("http://" + back)
	proxy := httputil.NewSingleHostReverseProxy(to)
	proxy.FlushInterval = -1
	conn := dial(t, serve(t, proxy, nil))
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(res.Body)
	for i := range 3 {
		line, err := lines.ReadString('\n')
		if line != fmt.Sprintf("piece %d\n", i) {
			t.Fatalf("%q, %v", line, err)
		}
		next <- true
	}
	if _, err := lines.ReadByte(); err != io.EOF {
		t.Error(err)
	}
}

// The deadlines of a ResponseController.
func TestDeadlines(t *testing.T) {
	done := make(chan error, 1)
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		soon := time.Now().Add(50 * time.Millisecond)
		switch r.URL.Path {
		case "/read":
			if err := c.SetReadDeadline(soon); err != nil {
				done <- err
				return
			}
			_, err := io.ReadAll(r.Body)
			done <- timeout(err)
		case "/write":
			if err := c.SetWriteDeadline(soon); err != nil {
				done <- err
				return
			}
			var err error
			for end := time.Now().Add(deadline); err == nil && time.Now().Before(end); {
				_, err = w.Write(make([]byte, 64<<10))
			}
			done <- timeout(err)
		case "/longer":
			if err := errors.Join(c.SetReadDeadline(soon), c.SetWriteDeadline(soon),
				c.SetReadDeadline(time.Time{}), c.SetWriteDeadline(time.Time{})); err != nil {
				done <- err
				return
			}
			time.Sleep(time.Until(soon) + 10*time.Millisecond)
			body, err := io.ReadAll(r.Body)
			if err == nil {
				_, err = fmt.Fprintf(w, "%d octets\n", len(body))
			}
			done <- err
		}
	}), nil)

	conn := dial(t, address)
	io.WriteString(conn, "POST /read HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome")
	within(t, "the end of reading", done)

	conn = dial(t, address)
	io.WriteString(conn, "GET /write HTTP/1.1\r\nHost: x\r\n\r\n")
	within(t, "the end of writing", done)

	a := ask(t, newTransport(t), address, request{name: "longer", method: "POST", target: "/longer", body: "1234"})
	within(t, "the handler", done)
	if a.Body != "4 octets\n" {
		t.Errorf("%+v", a)
	}
}

// timeout is nil for the error of a deadline.
func timeout(err error) error {
	var is interface{ Timeout() bool }
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.As(err, &is) && is.Timeout() {
		return nil
	}
	return fmt.Errorf("not a timeout: %v", err)
}

// An answer that is sent while its request still comes.
func TestFullDuplex(t *testing.T) {
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := http.NewResponseController(w)
		if err := c.EnableFullDuplex(); err != nil {
			t.Errorf("EnableFullDuplex: %v", err)
			return
		}
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "%s, too\n", lines.Text())
			if err := c.Flush(); err != nil {
				t.Errorf("Flush: %v", err)
			}
		}
	}), nil)
	conn := dial(t, address)
	io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
	var lines *bufio.Reader
	for i := range 3 {
		fmt.Fprintf(conn, "7\r\nline %d\n\r\n", i)
		if lines == nil {
			res, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			lines = bufio.NewReader(res.Body)
		}
		line, err := lines.ReadString('\n')
		if line != fmt.Sprintf("line %d, too\n", i) {
			t.Fatalf("%q, %v", line, err)
		}
	}
	io.WriteString(conn, "0\r\n\r\n")
	if _, err := lines.ReadByte(); err != io.EOF {
		t.Error(err)
	}
}

// What the library keeps to itself is refused by the error that programs ask for.
func TestHijackIsRefused(t *testing.T) {
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _, err := http.NewResponseController(w).Hijack()
		fmt.Fprintf(w, "%v: %v", errors.Is(err, http.ErrNotSupported), err)
	}), nil)
	a := ask(t, newTransport(t), address, request{name: "upgrade", target: "/",
		header: "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Key: x\nSec-WebSocket-Version: 13"})
	if a.Status != 200 || !strings.HasPrefix(a.Body, "true: ") {
		t.Errorf("%+v", a)
	}
}

// Interim answers come before the answer, each when it is written.
func TestInterimAnswers(t *testing.T) {
	next := make(chan bool)
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</a.css>; rel=preload")
		w.WriteHeader(103)
		<-next
		w.Header().Add("Link", "</b.css>; rel=preload")
		w.WriteHeader(103)
		<-next
		w.Header().Set("X-Last", "1")
		io.WriteString(w, "the answer")
	}), nil)
	conn := dial(t, address)
	io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	r := bufio.NewReader(conn)
	for i, links := range []int{1, 2} {
		res, err := http.ReadResponse(r, nil)
		if err != nil || res.StatusCode != 103 || len(res.Header["Link"]) != links {
			t.Fatalf("%d: %+v, %v", i, res, err)
		}
		next <- true
	}
	res, err := http.ReadResponse(r, nil)
	if err != nil || res.StatusCode != 200 || res.Header.Get("X-Last") != "1" {
		t.Fatalf("%+v, %v", res, err)
	}
}

// Trailers are not supported, and a handler that sets some is told so; its answer is whole.
func TestTrailersAreRefused(t *testing.T) {
	var log logged
	address := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/announced" {
			w.Header().Set("Trailer", "X-Sum")
		}
		io.WriteString(w, "a body")
		http.NewResponseController(w).Flush()
		if r.URL.Path == "/announced" {
			w.Header().Set("X-Sum", "1")
		} else {
			w.Header().Set(http.TrailerPrefix+"X-Sum", "1")
		}
	}), &log)
	tr := newTransport(t)
	for i, target := range []string{"/announced", "/prefixed"} {
		a := get(t, tr, address, target)
		if a.Status != 200 || a.Body != "a body" || len(a.Trailer["X-Sum"]) != 0 {
			t.Errorf("%+v", a)
		}
		eventually(t, "a word about trailers", func() bool {
			return strings.Count(strings.ToLower(log.String()), "trailer") > i
		})
	}
}
