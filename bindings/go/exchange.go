package gateway

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// about is what all requests of a server have in common.
type about struct {
	handler http.Handler
	logger  *slog.Logger // nil: the library's error log
	server  *http.Server // for http.ServerContextKey: programs ask whether there is one
	local   net.Addr     // for http.LocalAddrContextKey
}

// exchange is a request and its answer, from the turn that brought it until its handler has returned.
type exchange struct {
	loop    *loop
	about   *about
	d       uintptr
	request *http.Request
	ctx     requestContext
	url     url.URL
	body    body
	res     response

	done   chan struct{} // of an op that was waited for
	result C.gw_result
	gone   bool // the last op was handed over; of the loop's lock

	left atomic.Bool // the client has

	mu       sync.Mutex
	over     bool          // the handle was given up
	room     chan struct{} // there is, or the client has left
	input    chan struct{} // the same of its body
	deadline time.Time     // of writes
}

// exchange makes a request of what the library has said.  Nothing of C's is kept.
func (a *about) exchange(l *loop, taken *C.gwgo_request) *exchange {
	x := &exchange{loop: l, about: a, d: uintptr(unsafe.Pointer(taken.d))}
	x.ctx.x = x
	x.res.x = x
	x.res.length = -1
	x.body.x = x
	x.request = newRequest(x, taken)
	return x
}

// run calls the handler and ends the answer, whatever happens; in a goroutine of its own.
func (x *exchange) run() {
	outcome := x.call()
	if outcome == C.GW_OK {
		x.res.finish()
		return
	}
	if outcome == C.GW_ERR_CLOSED && x.res.status != 0 {
		// The client is to see that what was said is not whole.
		_ = x.res.flush()
	}
	x.giveUp(outcome)
}

// call says whether the handler has returned; it may have panicked, or left its goroutine.
func (x *exchange) call() (outcome C.gw_result) {
	outcome = C.GW_ERR_APP
	defer func() {
		x.ctx.cancel() // before the client can know
		if form := x.request.MultipartForm; form != nil {
			_ = form.RemoveAll()
		}
		if outcome == C.GW_OK {
			return
		}
		if cause := recover(); cause == nil {
			// runtime.Goexit: the goroutine goes on ending, and so must this request.
			x.giveUp(C.GW_ERR_APP)
		} else if err, ok := cause.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			// Nobody wants to read of it.
			outcome = C.GW_ERR_CLOSED
		} else {
			stack := make([]byte, 64<<10)
			stack = stack[:runtime.Stack(stack, false)]
			x.log(slog.LevelError, fmt.Sprintf("http: panic serving %s: %v", x.request.RemoteAddr, cause), string(stack))
		}
	}()
	handler := x.about.handler
	if x.request.RequestURI == "*" && x.request.Method == http.MethodOptions {
		handler = options
	}
	handler.ServeHTTP(&x.res, x.request)
	return C.GW_OK
}

// options answers what is asked of the server as a whole, and not of any path, as net/http's does.
var options = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "0")
})

// giveUp ends the answer with this result: a 500, or a cut where it has begun.
func (x *exchange) giveUp(rc C.gw_result) {
	x.res.over.Store(true)
	if x.end() {
		x.sayEnd(rc)
	}
	if rc == C.GW_OK {
		x.res.release()
	}
	// Else a goroutine of the handler's may still write there.
}

// end marks the handle as given up; false: it was before.
func (x *exchange) end() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	was := x.over
	x.over = true
	// A body that somebody still reads.
	wake(x.input)
	return !was
}

// sayEnd is for whom end has said true.
func (x *exchange) sayEnd(rc C.gw_result) {
	x.loop.post(x, C.gwgo_op{d: C.uintptr_t(x.d), kind: C.GWGO_END, status: C.int32_t(rc)}, nil, nil)
}

// tell is what the library has to say about the request; from the goroutine that turns.
func (x *exchange) tell(what C.uint32_t) {
	switch what {
	case C.GW_EVENT_ABORTED:
		x.left.Store(true)
		x.ctx.cancel()
	case C.GW_EVENT_READABLE:
		x.mu.Lock()
		wake(x.input)
		x.mu.Unlock()
	case C.GW_EVENT_WRITABLE:
		x.mu.Lock()
		wake(x.room)
		x.mu.Unlock()
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default: // nobody waits, or was woken already
	}
}

// wait waits until c is woken; the error is one of time.
func wait(c chan struct{}, deadline time.Time) error {
	if deadline.IsZero() {
		<-c
		return nil
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-c:
		return nil
	case <-timer.C:
		return errDeadline
	}
}

// log writes about this request: to the logger, or to the library's error log, a line each.
func (x *exchange) log(level slog.Level, message, more string) {
	if logger := x.about.logger; logger != nil {
		attrs := []slog.Attr{slog.String("remote", x.request.RemoteAddr),
			slog.String("method", x.request.Method), slog.String("uri", x.request.RequestURI)}
		if more != "" {
			attrs = append(attrs, slog.String("stack", more))
		}
		logger.LogAttrs(context.Background(), level, message, attrs...)
		return
	}
	text := message
	if more != "" {
		text += "\n" + strings.TrimRight(more, "\n")
	}
	x.mu.Lock()
	if x.over {
		x.mu.Unlock()
		log.Print(text) // of a request that has ended the library knows nothing
		return
	}
	defer x.mu.Unlock()
	for _, line := range strings.Split(text, "\n") {
		data := unsafe.StringData(line)
		C.gwgo_log(C.uintptr_t(x.d), severity(level), (*C.char)(unsafe.Pointer(data)), C.size_t(len(line)))
	}
}
