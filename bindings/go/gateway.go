// Package gateway serves an http.Handler with libgateway: by HTTP/1, or behind nginx, Apache and others by
// uwsgi, FastCGI and SCGI, in processes that an arbiter starts, watches, reloads and upgrades.
//
//	func main() {
//		http.HandleFunc("/", hello)
//		if err := gateway.ListenAndServe(":8000", nil); err != http.ErrServerClosed {
//			log.Fatal(err)
//		}
//	}
//
// [ListenAndServe] and [Serve] are for programs: the process becomes the arbiter, and starts the program
// again for each worker, in which the same call serves.  What main does before them is therefore done in
// each of these processes; [IsWorker] tells them apart.  [Server] serves in this process, without workers
// or signals, for tests and for programs that have another main job.
//
// A handler runs in a goroutine of its own for each request and is what it is for net/http, which the
// README compares in detail.
package gateway

// #cgo pkg-config: gateway
// #include "shim.h"
// #include <stdlib.h>
import "C"

import (
	"net/http"
	"runtime/cgo"
	"unsafe"
)

// ListenAndServe serves handler, nil for http.DefaultServeMux, on an address: "host:port", ":port",
// "unix:/path", or with another protocol, "uwsgi://127.0.0.1:3031", "fastcgi+unix:/run/app.sock".  The rest is
// as for [Serve].
func ListenAndServe(addr string, handler http.Handler, options ...Option) error {
	if addr == "" {
		addr = ":http"
	}
	return Serve(handler, append([]Option{Bind(addr)}, options...)...)
}

// Serve serves handler where [Bind] says, or at the sockets that systemd has passed, or else at 127.0.0.1:8000,
// until the process is told to stop: TERM is a graceful stop, INT and QUIT a quick one,
// HUP a reload, USR2 an upgrade, TTIN and TTOU are one worker more and less.  Unless an option says
// otherwise there is one worker, so that a program may keep what it knows in memory; [Workers] has more.
//
// It returns when the arbiter, or in a worker the worker, has ended.  The error is never nil: it is
// http.ErrServerClosed after a stop, or an [*Error].
func Serve(handler http.Handler, options ...Option) error {
	s := newSettings(handler, options)
	cfg, err := s.config("exec", true)
	if err != nil {
		return err
	}
	handle := cgo.NewHandle(s)
	defer handle.Delete()
	failure := newError()
	if rc := C.gwgo_config_hooks(cfg, C.uintptr_t(handle), &failure); rc < 0 {
		C.gw_config_free(cfg)
		return errorOf(&failure, rc)
	}
	rc := C.gw_serve(cfg, &failure)
	if s.arbiter != nil {
		s.arbiter.gone()
	}
	if rc < 0 {
		return errorOf(&failure, rc)
	}
	return http.ErrServerClosed
}

// IsWorker says whether this process is a worker, which [Serve] has started or is about to become one.
func IsWorker() bool { return C.gw_is_worker() != 0 }

// Version is the library's, "0.1.0".
func Version() string { return C.GoString(C.gw_version()) }

// cString is a NUL-terminated copy in C's memory; to be freed.
func cString(text string) (*C.char, func()) {
	s := C.CString(text)
	return s, func() { C.free(unsafe.Pointer(s)) }
}
