package gateway

// #include "shim.h"
import "C"

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
)

// Server serves in this process: no workers, no signals, nothing of the process is touched.  Like
// http.Server it is used once.
type Server struct {
	Handler http.Handler // nil: http.DefaultServeMux
	Addr    string       // for ListenAndServe, as for [ListenAndServe]; "" is ":http"
	Options []Option     // those that are not about processes

	mu     sync.Mutex
	server *C.gw_server // from Serve to its end
	loop   *loop
	closed bool
}

// ListenAndServe serves on Addr; see Serve.
func (s *Server) ListenAndServe() error {
	addr := s.Addr
	if addr == "" {
		addr = ":http"
	}
	return s.serve(nil, Bind(addr))
}

// Serve serves what l accepts, which is a *net.TCPListener, a *net.UnixListener, or another that has a
// File method, and is closed when Serve returns.  The error is never nil: it is http.ErrServerClosed
// after Shutdown and Close.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	file, ok := l.(interface{ File() (*os.File, error) })
	if !ok {
		return &Error{Code: C.GW_ERR_UNSUPPORTED, ExitStatus: 1, Message: "gateway: this listener has no file descriptor"}
	}
	f, err := file.File()
	if err != nil {
		return err
	}
	defer f.Close()
	return s.serve(l.Addr(), listen(int(f.Fd())))
}

// listen is a socket that is bound already.
func listen(fd int) Option { return func(s *settings) { s.fds = append(s.fds, fd) } }

func (s *Server) serve(at net.Addr, option Option) error {
	settings := newSettings(s.Handler, append([]Option{option}, s.Options...))
	cfg, err := settings.config("inline", false)
	if err != nil {
		return err
	}
	var server *C.gw_server
	failure := newError()
	if rc := C.gw_server_new(cfg, &server, &failure); rc < 0 {
		return errorOf(&failure, rc)
	}
	defer C.gw_server_free(server)
	if at == nil {
		at = listening(server)
	}
	settings.about.local = at
	l, err := newLoop(server, &settings.about)
	if err != nil {
		return err
	}
	if err := s.begin(server, l); err != nil {
		l.gate.file.Close()
		return err
	}
	err = l.run()
	s.mu.Lock()
	s.server = nil
	s.closed = true
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return http.ErrServerClosed
}

func (s *Server) begin(server *C.gw_server, l *loop) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return http.ErrServerClosed
	}
	if s.server != nil {
		return &Error{Code: C.GW_ERR_STATE, ExitStatus: 1, Message: "gateway: this Server serves already"}
	}
	s.server, s.loop = server, l
	return nil
}

// Shutdown stops listening, lets the requests that are there be answered, and closes idle connections when they
// have had two seconds, or [Keepalive], to ask once more.  When ctx ends before that, Shutdown returns its error;
// graceful_timeout ends them in any case.
func (s *Server) Shutdown(ctx context.Context) error {
	l := s.stop(C.GW_STOP_GRACEFUL)
	if l == nil {
		return nil
	}
	select {
	case <-l.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close closes all connections where they stand.
func (s *Server) Close() error {
	if l := s.stop(C.GW_STOP_QUICK); l != nil {
		<-l.ended
	}
	return nil
}

func (s *Server) stop(how C.uint32_t) *loop {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.server == nil {
		return nil
	}
	C.gw_server_stop(s.server, how)
	return s.loop
}

// listening is where a server listens: the first of its sockets, for http.LocalAddrContextKey.
func listening(server *C.gw_server) net.Addr {
	info := C.gw_listener_info{size: C.sizeof_gw_listener_info}
	var cursor C.uint32_t
	if C.gw_server_listeners(server, &cursor, &info) != C.GW_OK {
		return &net.TCPAddr{}
	}
	address := C.GoString(&info.address[0])
	if path, isUnix := strings.CutPrefix(address, "unix:"); isUnix {
		return &net.UnixAddr{Name: path, Net: "unix"}
	}
	if port, err := netip.ParseAddrPort(address); err == nil {
		return net.TCPAddrFromAddrPort(port)
	}
	return &net.TCPAddr{}
}

// Stats are the server's counters; it must be serving.
func (s *Server) Stats() (Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.server == nil {
		return Stats{}, resultError("stats", C.GW_ERR_STATE)
	}
	out := C.gw_stats{size: C.sizeof_gw_stats}
	if rc := C.gw_server_stats(s.server, &out); rc < 0 {
		return Stats{}, resultError("stats", rc)
	}
	return statsOf(&out), nil
}
