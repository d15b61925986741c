package gateway

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// answer is what a server says to these octets on a connection of their own; but for the date and the length.
func answer(t *testing.T, addr, request string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, request)
	method, _, _ := strings.Cut(request, " ")
	got, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return err.Error()
	}
	body, err := io.ReadAll(got.Body)
	got.Header.Del("Date")
	got.Header.Del("Content-Length") // of the body, and CONNECT has none
	return fmt.Sprint(got.Status, got.Header, got.Close, string(body), err)
}

// both asks net/http and ours.
func both(t *testing.T, handler http.HandlerFunc, requests ...string) {
	t.Helper()
	theirs := httptest.NewServer(handler)
	defer theirs.Close()
	_, ours := begin(t, handler)
	for _, request := range requests {
		want, got := answer(t, theirs.Listener.Addr().String(), request), answer(t, ours, request)
		if got != want {
			t.Errorf("%q:\n%s\nnet/http:\n%s", request, got, want)
		}
	}
}

func TestARequestIsWhatItIsForNetHTTP(t *testing.T) {
	both(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s %q %#v %q %d %q close %v, no body %v, %v", r.Method, r.Proto, r.RequestURI, *r.URL, r.Host,
			r.ContentLength, r.TransferEncoding, r.Close, r.Body == http.NoBody, r.Header)
	},
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
		"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: closed-captions\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: x,\tClose\r\n\r\n",
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
		"GET http://b/p?q HTTP/1.1\r\nHost: a\r\n\r\n",
		"GET https://b/p?q HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
	)
	// The connection of a CONNECT is not kept.
	both(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		fmt.Fprintf(w, "%q %#v %q", r.RequestURI, *r.URL, r.Host)
	}, "CONNECT b:1 HTTP/1.1\r\nHost: a:2\r\n\r\n")
}

// Who takes an address apart finds a port, also where nobody has said which.
func TestAnAddressHasAPort(t *testing.T) {
	_, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.RemoteAddr)
	}, Set("forwarded_for", "1"))
	for _, host := range []string{"192.0.2.7", "2001:db8::7"} {
		request := "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: " + host + "\r\n\r\n"
		if got, want := ask(t, addr, request, 1)[0], net.JoinHostPort(host, "0"); got != want {
			t.Errorf("%s, not %s", got, want)
		}
	}
}

// What the library refuses in a head must not cost the answer.
func TestFieldsThatAreLeftOutOrMended(t *testing.T) {
	_, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		header := w.Header()
		header["connection"] = []string{"close"}
		header["TRANSFER-ENCODING"] = []string{"chunked"}
		for _, name := range []string{"Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Upgrade"} {
			header.Set(name, "x")
		}
		header["x-Control"] = []string{"a\x00b\x01c\x7fd\te\r\nf", "ü"}
		io.WriteString(w, "whole")
	})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, get)
	got, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if control := got.Header["X-Control"]; got.StatusCode != 200 || got.ContentLength != 5 || len(control) != 2 ||
		control[0] != "a b c d\te  f" || control[1] != "ü" {
		t.Errorf("%+v", got)
	}
}

// There is no connection to hand over, whether the client may have a body or not.
func TestProtocolsAreNotSwitched(t *testing.T) {
	_, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusSwitchingProtocols)
	})
	for _, method := range []string{"GET", "HEAD"} {
		got := answer(t, addr, method+" / HTTP/1.1\r\nHost: a\r\n\r\n")
		if !strings.HasPrefix(got, "500 ") {
			t.Error(method, got)
		}
	}
}

// Routers that are older than the request's context ask for this, and some without looking whether it is there.
func TestCloseNotify(t *testing.T) {
	told, entered := make(chan bool, 1), make(chan bool, 1)
	_, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		gone := w.(http.CloseNotifier).CloseNotify()
		select {
		case <-gone:
			t.Error("nobody has gone")
		default:
		}
		entered <- true
		told <- <-gone
	})
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, get)
	late := time.After(10 * time.Second)
	for _, what := range []chan bool{entered, told} {
		select {
		case is := <-what:
			if !is {
				t.Error("the channel was closed")
			}
		case <-late:
			t.Fatal("it is not told")
		}
		conn.Close()
	}
}

// Whoever was answered has not gone.
func TestCloseNotifyBehindTheAnswer(t *testing.T) {
	notify := make(chan (<-chan bool), 1)
	_, addr := begin(t, func(w http.ResponseWriter, r *http.Request) {
		notify <- w.(http.CloseNotifier).CloseNotify()
	})
	ask(t, addr, get, 1)
	select {
	case <-<-notify:
		t.Error("nobody has gone")
	case <-time.After(50 * time.Millisecond): // more than enough for what was wrong to be seen
	}
}
