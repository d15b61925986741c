package gateway

// #include "shim.h"
// #include <stdlib.h>
import "C"

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/cgo"
	"strconv"
	"strings"
	"time"
)

// Option is something that [Serve], [ListenAndServe] or a [Server] is told.
type Option func(*settings)

// Set sets an option of the library by its name, gunicorn's where the meaning is gunicorn's: "keepalive",
// "max_body", "accesslog", "user", "request_timeout" ...  docs/options.md has all of them.  A list grows.
func Set(name, value string) Option {
	return func(s *settings) { s.values = append(s.values, [2]string{name, value}) }
}

// Bind adds an address to listen on; see [ListenAndServe].
func Bind(addr string) Option { return Set("bind", addr) }

// Workers is how many processes serve; 0: one for each CPU that the control group grants.
func Workers(n int) Option { return Set("workers", strconv.Itoa(n)) }

// GracefulTimeout is how long requests that are there may take when the server stops.
func GracefulTimeout(d time.Duration) Option { return Set("graceful_timeout", milliseconds(d)) }

// Keepalive is how long a connection may wait for its next request; 0 closes it behind an answer.
func Keepalive(d time.Duration) Option { return Set("keepalive", milliseconds(d)) }

// RequestTimeout is how long an answer may take to begin; the client gets a 504, and the context of the
// request ends.
func RequestTimeout(d time.Duration) Option { return Set("request_timeout", milliseconds(d)) }

// AccessLog is a file, or "-" for standard output, with a line for each request.
func AccessLog(path string) Option { return Set("accesslog", path) }

// Logger gets what the library and this package log, in the place of the library's error log.
func Logger(logger *slog.Logger) Option { return func(s *settings) { s.logger = logger } }

// WithHooks is told of workers and of the arbiter.
func WithHooks(hooks Hooks) Option { return func(s *settings) { s.hooks = hooks } }

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) + "ms" }

// settings is what the options have said.
type settings struct {
	about  about
	values [][2]string
	fds    []int // sockets to listen on
	logger *slog.Logger
	hooks  Hooks

	arbiter *Arbiter // from its first hook on
}

func newSettings(handler http.Handler, options []Option) *settings {
	if handler == nil {
		handler = http.DefaultServeMux
	}
	s := &settings{}
	for _, option := range options {
		option(s)
	}
	s.about = about{
		handler: handler,
		logger:  s.logger,
		server:  &http.Server{Handler: handler},
	}
	if s.logger != nil {
		// Where http.TimeoutHandler and httputil.ReverseProxy log.
		s.about.server.ErrorLog = slog.NewLogLogger(s.logger.Handler(), slog.LevelError)
	}
	return s
}

// config is a configuration of the library's, to be given to it or freed.
func (s *settings) config(model string, workers bool) (*C.gw_config, error) {
	cfg := C.gw_config_new()
	if cfg == nil {
		return nil, resultError("gw_config_new", C.GW_ERR_MEMORY)
	}
	// A handler reads the body while it comes, as in net/http.
	preset := [][2]string{{"worker_model", model}, {"request_buffering", "0"}}
	if workers {
		preset = append(preset, [2]string{"workers", "1"})
	} else if s.logger == nil {
		preset = append(preset, [2]string{"errorlog", "-"}) // as gw_serve has it
	}
	for _, option := range append(preset, s.values...) {
		if err := set(cfg, option[0], option[1]); err != nil {
			C.gw_config_free(cfg)
			return nil, err
		}
	}
	for _, fd := range s.fds {
		on := C.gw_listener{size: C.sizeof_gw_listener, fd: C.int32_t(fd)}
		failure := newError()
		if rc := C.gw_config_listen(cfg, &on, &failure); rc < 0 {
			C.gw_config_free(cfg)
			return nil, errorOf(&failure, rc)
		}
	}
	if s.logger != nil {
		handle := cgo.NewHandle(s.logger) // until it is dropped
		if rc := C.gwgo_config_log(cfg, C.GW_LOG_DEBUG, C.uintptr_t(handle)); rc < 0 {
			C.gw_config_free(cfg)
			return nil, resultError("gw_config_log", rc)
		}
	}
	return cfg, nil
}

func set(cfg *C.gw_config, name, value string) error {
	if name == "bind" {
		value = address(value)
	}
	if strings.IndexByte(name, 0) >= 0 || strings.IndexByte(value, 0) >= 0 {
		return &Error{Code: C.GW_ERR_INVALID, ExitStatus: 1, Message: fmt.Sprintf("%q: a NUL is not possible", name)}
	}
	cName, free := cString(name)
	defer free()
	cValue, freeValue := cString(value)
	defer freeValue()
	failure := newError()
	return errorOf(&failure, C.gw_config_set(cfg, cName, cValue, &failure))
}

// address is what net/http's users write: ":8000" is all interfaces, "host:http" the service's port.
func address(addr string) string {
	if strings.Contains(addr, "/") || strings.HasPrefix(addr, "unix:") || strings.Contains(addr, "+") {
		return addr
	}
	host, service, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	port, err := net.LookupPort("tcp", service)
	if err != nil {
		return addr
	}
	if host == "" {
		host = "::"
		if !hasIPv6() {
			host = "0.0.0.0"
		}
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

func hasIPv6() bool {
	l, err := net.Listen("tcp6", "[::]:0")
	if err != nil {
		return false
	}
	l.Close()
	return true
}
