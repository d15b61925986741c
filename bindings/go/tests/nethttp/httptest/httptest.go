// Package httptest is net/http/httptest with servers of libgateway.  What a test sets in an http.Server
// that ours has under another name is passed on; what ours has not ends the test, so that none passes by
// luck.
package httptest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// These are Go's.
type ResponseRecorder = httptest.ResponseRecorder

var (
	NewRecorder = httptest.NewRecorder
	NewRequest  = httptest.NewRequest
)

// Plain makes all servers net/http's own: for the tests of the tests.
var Plain = os.Getenv("NETHTTP_SERVER") == "net/http"

// Answered counts what came through the servers: connections or requests, whatever is more.
var Answered atomic.Int64

// Server has the members of Go's httptest.Server.
type Server struct {
	URL         string
	Listener    net.Listener
	EnableHTTP2 bool
	TLS         *tls.Config
	Config      *http.Server

	started bool
	close   func()
	once    sync.Once
	client  *http.Client
}

func NewServer(handler http.Handler) *Server {
	s := NewUnstartedServer(handler)
	s.Start()
	return s
}

func NewTLSServer(handler http.Handler) *Server {
	s := NewUnstartedServer(handler)
	s.StartTLS()
	return s
}

func NewUnstartedServer(handler http.Handler) *Server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	return &Server{Listener: l, Config: &http.Server{Handler: handler}}
}

func (s *Server) Start() {
	if s.started {
		panic("Server already started")
	}
	s.started = true
	s.URL = "http://" + s.Listener.Addr().String()

	tr := &http.Transport{}
	dialer := net.Dialer{}
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if tr.Dial != nil {
			return tr.Dial(network, addr)
		}
		if addr == "example.com:80" || strings.HasSuffix(addr, ".example.com:80") {
			addr = s.Listener.Addr().String()
		}
		return dialer.DialContext(ctx, network, addr)
	}
	s.client = &http.Client{Transport: tr}
	s.close = start(s.Config, s.Listener)
}

func (s *Server) StartTLS() { panic("libgateway has no TLS") }

func (s *Server) Close() {
	s.once.Do(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		if s.client != nil {
			if tr, ok := s.client.Transport.(interface{ CloseIdleConnections() }); ok {
				tr.CloseIdleConnections()
			}
		}
		if s.close != nil {
			s.close()
		} else {
			s.Listener.Close()
		}
	})
}

func (s *Server) CloseClientConnections() { panic("libgateway does not hand out connections") }

func (s *Server) Certificate() *x509.Certificate { return nil }

func (s *Server) Client() *http.Client { return s.client }

// Serve is http.Server.Serve, for the listeners of tests: each of their connections, which may be no
// more than a buffer, is carried over a socket to a server of ours.
func Serve(config *http.Server, l net.Listener) error {
	ours, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	var carried sync.WaitGroup
	stop := start(config, ours)
	defer stop()
	defer carried.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		socket, err := net.Dial("tcp", ours.Addr().String())
		if err != nil {
			return err
		}
		carried.Add(1)
		go func() {
			defer carried.Done()
			carry(conn, socket.(*net.TCPConn))
		}()
	}
}

// carry ends when the server has closed its side.
func carry(conn net.Conn, socket *net.TCPConn) {
	go func() {
		io.Copy(struct{ io.Writer }{socket}, struct{ io.Reader }{conn})
		socket.CloseWrite()
	}()
	io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{socket})
	socket.Close()
	conn.Close()
}

// counted notes requests.
func counted(handler http.Handler) http.Handler {
	if handler == nil {
		handler = http.DefaultServeMux
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Answered.Add(1)
		// What a client did before its request precedes the handler, and what this does the answer.  Sockets of Go's
		// tell the race detector so; that of these two system calls stands for those of C's.
		syscall.Read(zero, make([]byte, 1))
		defer syscall.Write(null, make([]byte, 1))
		handler.ServeHTTP(w, r)
	})
}

var zero, null = open("/dev/zero"), open("/dev/null")

func open(path string) int {
	fd, err := syscall.Open(path, syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		panic(err)
	}
	return fd
}

func start(config *http.Server, l net.Listener) (stop func()) {
	Answered.Add(1)
	if Plain {
		return startPlain(config, l)
	}
	return startOurs(config, l)
}

func startPlain(config *http.Server, l net.Listener) func() {
	done := make(chan struct{})
	go func() {
		defer close(done)
		config.Serve(l)
	}()
	return func() {
		config.Shutdown(context.Background())
		<-done
	}
}
