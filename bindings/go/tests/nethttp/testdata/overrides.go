package http_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"libgateway.org/go/gateway/tests/nethttp/httptest"
)

// TestMain fails a test that asked nothing of a server.
func TestMain(m *testing.M) {
	status := m.Run()
	if status == 0 && httptest.Answered.Load() == 0 {
		os.Stdout.WriteString("no server was started\n")
		status = 1
	}
	os.Exit(status)
}

// run knows HTTP/1.1 without TLS only.  What is not tested with that fails: it belongs to the list of
// what is left out.
func run[T TBRun[T]](t T, f func(t T, mode testMode), opts ...any) {
	t.Helper()
	for _, opt := range opts {
		modes := reflect.ValueOf(opt)
		if modes.Kind() != reflect.Slice {
			continue
		}
		has := false
		for i := range modes.Len() {
			has = has || modes.Index(i).Interface() == http1Mode
		}
		switch modes.Type().Name() {
		case "": // these and no others
			has = !has
		case "testAddMode":
			has = false
		}
		if has {
			t.Fatalf("%s is not for HTTP/1.1", t.Name())
		}
	}
	t.Run(string(http1Mode), func(t T) {
		t.Helper()
		t.Cleanup(func() { afterTest(t) })
		f(t, http1Mode)
	})
}

// The hooks into net/http that need not do anything for HTTP/1.1.
func CondSkipHTTP2(testing.TB)                            {}
func ExportHttp2ConfigureServer(*http.Server, any) error  { return nil }
func ExportHttp2ConfigureTransport(*http.Transport) error { return nil }
func setParallel(*testing.T)                              {}

func serve2(l net.Listener, h http.Handler) error {
	return serve1(&http.Server{Handler: h}, l)
}

// serve1 is Serve of an http.Server or of a pointer to one: what is written before the point.
func serve1(config any, l net.Listener) error {
	if server, ok := config.(http.Server); ok {
		config = &server
	}
	return httptest.Serve(config.(*http.Server), l)
}

func SetRSTAvoidanceDelay(*testing.T, time.Duration) {}

const DefaultUserAgent = "Go-http-client/1.1"

// A network of Go's own making has no socket that a library could serve.
type fakeNetListener struct{ net.Listener }

func fakeNetListen() *fakeNetListener         { panic("a connection without a socket") }
func (li *fakeNetListener) connect() net.Conn { panic("a connection without a socket") }

// rawResponse gives the octets that answer a request whose lines end in \n.
func (ht *handlerTest) rawResponse(req string) string {
	config := &http.Server{Handler: ht.handler}
	ts := &httptest.Server{Config: config}
	var err error
	if ts.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		panic(err)
	}
	ts.Start()
	defer ts.Close()

	conn, err := net.Dial("tcp", ts.Listener.Addr().String())
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	if _, err := conn.Write(reqBytes(req)); err != nil {
		panic(err)
	}
	conn.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(conn)
	if err != nil {
		panic(err)
	}
	return string(answer)
}

// Instead of HTTP/2's with HTTP/1's, net/http's answers are compared with ours.
func (tt h12Compare) run(t *testing.T) {
	plain := &http.Server{Handler: http.HandlerFunc(tt.Handler), ErrorLog: quietLog}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go plain.Serve(l)
	defer plain.Close()

	ask := func(c *http.Client, url string) *http.Response {
		do := tt.ReqFunc
		if do == nil {
			do = (*http.Client).Get
		}
		res, err := do(c, url)
		if err != nil {
			t.Fatal(err)
		}
		if tt.EarlyCheckResponse != nil {
			tt.EarlyCheckResponse(res.Proto, res)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if errors.Is(err, syscall.ECONNRESET) {
			// Another way to say that the rest is missing.
			err = io.ErrUnexpectedEOF
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%v: %v", url, err)
		}
		res.Body = slurpResult{ReadCloser: io.NopCloser(strings.NewReader(string(body))), body: body, err: err}
		return res
	}
	tr := &http.Transport{}
	for _, opt := range tt.Opts {
		if set, ok := opt.(func(*http.Transport)); ok {
			set(tr)
		}
	}
	defer tr.CloseIdleConnections()
	want := ask(&http.Client{Transport: tr}, "http://"+l.Addr().String())
	cst := newClientServerTest(t, http1Mode, http.HandlerFunc(tt.Handler), tt.Opts...)
	got := ask(cst.c, cst.ts.URL)

	for _, res := range []*http.Response{got, want} {
		if len(res.Header["Date"]) != 1 {
			t.Errorf("Date: %q", res.Header["Date"])
		}
		delete(res.Header, "Date")
		delete(res.Header, "Server")
	}
	type compared struct {
		Status, Proto   string
		Length          int64
		Header, Trailer http.Header
		Encoding        []string
		Close, Unpacked bool
		Body            string
		Err             error
	}
	of := func(res *http.Response) compared {
		body := res.Body.(slurpResult)
		return compared{res.Status, res.Proto, res.ContentLength, res.Header, res.Trailer, res.TransferEncoding,
			res.Close, res.Uncompressed, string(body.body), body.err}
	}
	if !reflect.DeepEqual(of(got), of(want)) {
		t.Errorf("not what net/http answers:\n got %+v\nwant %+v", of(got), of(want))
	}
	if tt.CheckResponse != nil {
		tt.CheckResponse(got.Proto, got)
	}
}
