package gateway

// #include "shim.h"
import "C"

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

const (
	// What a handler writes is kept up to this size, as in net/http: an answer that is no longer has
	// its length told by us.
	bufferSize = 2048
	// What is larger goes to the socket from where it is.
	lendSize = 4096
)

// response is an http.ResponseWriter, http.Flusher, http.CloseNotifier, io.ReaderFrom and io.StringWriter, and
// knows the deadlines of http.ResponseController.  It is no http.Hijacker: the connection is the library's.
type response struct {
	x       *exchange
	header  http.Header
	scratch *scratch    // from the first use of it to the end
	status  int         // 0: WriteHeader was not called
	length  int64       // as the handler has declared it, or -1
	written int64       // of the body, by the handler
	begun   bool        // the library has the head
	over    atomic.Bool // the handler has returned
	err     error       // of a write, which stays
	typed   bool        // there is a Content-Type, or a reason for none
	flags   C.uint16_t  // of the head
}

// scratch is memory that answers share, one after the other.
type scratch struct {
	head []byte // "Name: value\r\n" lines, from WriteHeader on
	body []byte // what is kept
}

var scratches = sync.Pool{New: func() any {
	return &scratch{make([]byte, 0, 512), make([]byte, 0, bufferSize)}
}}

func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

func (w *response) memory() *scratch {
	if w.scratch == nil {
		w.scratch = scratches.Get().(*scratch)
	}
	return w.scratch
}

func (w *response) release() {
	if w.scratch != nil {
		w.scratch.head, w.scratch.body = w.scratch.head[:0], w.scratch.body[:0]
		scratches.Put(w.scratch)
		w.scratch = nil
	}
}

func (w *response) WriteHeader(code int) {
	if w.over.Load() {
		w.superfluous("WriteHeader call after the handler has returned")
		return
	}
	if w.status != 0 {
		w.superfluous("superfluous response.WriteHeader call")
		return
	}
	if code < 100 || code > 999 {
		panic(fmt.Sprintf("invalid WriteHeader code %v", code))
	}
	if code < 200 && code != http.StatusSwitchingProtocols {
		hints := w.header
		if _, has := hints["Content-Length"]; has {
			// It is the answer's.
			hints = hints.Clone()
			hints.Del("Content-Length")
		}
		ops := [2]C.gwgo_op{w.op(C.GWGO_HEAD, code)}
		err := w.do(1, &ops, appendFields(nil, hints), nil)
		if err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, os.ErrDeadlineExceeded) {
			// The answer itself may be better.
			w.err = nil
			w.x.log(slog.LevelError, fmt.Sprintf("http: a status of %d was not sent: %v", code, err), "")
		}
		return
	}
	w.status = code
	if declared := w.header["Content-Length"]; len(declared) > 0 {
		length, err := strconv.ParseInt(strings.TrimSpace(declared[0]), 10, 64)
		if err == nil && length >= 0 {
			w.length = length
		} else {
			w.x.log(slog.LevelError, "http: invalid Content-Length of "+strconv.Quote(declared[0]), "")
			w.header.Del("Content-Length")
		}
	}
	if _, has := w.header["Trailer"]; has {
		w.x.log(slog.LevelWarn, "http: trailers are not sent: the Trailer field was left out", "")
	}
	if code == http.StatusNotModified {
		// Of the body that is not sent nothing is said, as net/http does.
		for _, name := range [...]string{"Content-Type", "Content-Length", "Transfer-Encoding"} {
			delete(w.header, name)
		}
		w.length = -1
	}
	if w.header.Get("Connection") == "close" {
		w.flags = C.GW_RESPONSE_CLOSE
	}
	_, w.typed = w.header["Content-Type"]
	if !w.typed {
		w.typed = w.header.Get("Content-Encoding") != ""
	}
	memory := w.memory()
	memory.head = appendFields(memory.head, w.header)
}

// CloseNotify is deprecated for the context of the request, and some routers still take it for granted.
func (w *response) CloseNotify() <-chan bool {
	gone := make(chan bool, 1)
	context.AfterFunc(&w.x.ctx, func() {
		if w.x.left.Load() { // and not only the handler has returned
			gone <- true
		}
	})
	return gone
}

// superfluous is told with the place of the call, as net/http does.
func (w *response) superfluous(what string) {
	pc := make([]uintptr, 16)
	frames := runtime.CallersFrames(pc[:runtime.Callers(3, pc)])
	for {
		frame, more := frames.Next()
		if !more || !strings.HasPrefix(frame.Function, "libgateway.org/go/gateway.(*response)") {
			w.x.log(slog.LevelError, fmt.Sprintf("http: %s from %s (%s:%d)", what, frame.Function,
				path.Base(frame.File), frame.Line), "")
			return
		}
	}
}

func (w *response) Write(p []byte) (int, error) {
	return w.write(len(p), p, "")
}

func (w *response) WriteString(s string) (int, error) {
	return w.write(len(s), nil, s)
}

// write takes either of them.
func (w *response) write(size int, p []byte, s string) (int, error) {
	if w.over.Load() {
		return 0, errReturned
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if size == 0 {
		return 0, nil
	}
	if !bodyAllowed(w.status) {
		return 0, http.ErrBodyNotAllowed
	}
	if w.length >= 0 && w.written+int64(size) > w.length {
		return 0, http.ErrContentLength
	}
	if w.err != nil {
		return 0, w.err
	}
	w.written += int64(size)
	memory := w.memory()
	if len(memory.body)+size <= bufferSize {
		memory.body = append(append(memory.body, p...), s...)
		return size, nil
	}
	if p == nil {
		p = unsafe.Slice(unsafe.StringData(s), len(s))
	}
	if !w.begun && !w.typed {
		w.sniff(append(memory.body, p[:min(len(p), 512)]...))
	}
	if size < lendSize {
		// Together with what was kept, which leaves.
		room := bufferSize - len(memory.body)
		memory.body = append(memory.body, p[:room]...)
		if err := w.flush(); err != nil {
			return 0, err
		}
		if p = p[room:]; len(p) <= bufferSize {
			memory.body = append(memory.body, p...)
			return size, nil
		}
		return size, w.send(p)
	}
	if len(memory.body) > 0 {
		if err := w.flush(); err != nil {
			return 0, err
		}
	}
	if w.isHead() {
		return size, w.send(p[:1])
	}
	return size, w.lend(p)
}

func (w *response) Flush() { _ = w.FlushError() }

// FlushError sends what was written so far.
func (w *response) FlushError() error {
	if w.over.Load() {
		return errReturned
	}
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	if w.err != nil {
		return w.err
	}
	return w.flush()
}

// flush sends the head, unless that was done, and what is kept.
func (w *response) flush() error {
	memory := w.memory()
	if !w.begun && !w.typed && len(memory.body) > 0 {
		w.sniff(memory.body)
	}
	err := w.send(memory.body)
	memory.body = memory.body[:0]
	return err
}

// send sends the head, unless that was done, and p.
func (w *response) send(p []byte) error {
	var ops [2]C.gwgo_op
	count := 0
	if !w.begun {
		w.begun = true
		ops[0] = w.op(C.GWGO_HEAD, w.status)
		count = 1
	}
	if len(p) == 0 && count == 0 {
		return nil
	}
	// Behind a head an empty one, which is flushed, sends that alone.
	ops[count] = w.op(C.GWGO_WRITE, 0)
	count++
	return w.do(count, &ops, w.memory().head, p)
}

// lend sends the head, unless that was done, and p from where it is; p is its owner's again when this
// returns.
func (w *response) lend(p []byte) error {
	var pinned runtime.Pinner
	pinned.Pin(unsafe.SliceData(p))
	defer pinned.Unpin()
	return w.piece(C.gwgo_op{kind: C.GWGO_LEND,
		body: C.uint64_t(uintptr(unsafe.Pointer(unsafe.SliceData(p)))), body_len: C.uint64_t(len(p))})
}

// piece sends the head, unless that was done, and an op behind it.
func (w *response) piece(op C.gwgo_op) error {
	op.d = C.uintptr_t(w.x.d)
	ops := [2]C.gwgo_op{op}
	count := 1
	if !w.begun {
		w.begun = true
		ops = [2]C.gwgo_op{w.op(C.GWGO_HEAD, w.status), op}
		count = 2
	}
	return w.do(count, &ops, w.memory().head, nil)
}

func (w *response) op(kind C.uint16_t, status int) C.gwgo_op {
	return C.gwgo_op{d: C.uintptr_t(w.x.d), kind: kind, flags: w.flags, status: C.int32_t(status)}
}

// do has the library do it, and waits while the client is slow.
func (w *response) do(count int, ops *[2]C.gwgo_op, head, body []byte) (err error) {
	x := w.x
	if x.done == nil {
		x.done = make(chan struct{}, 1)
	}
	x.mu.Lock()
	if x.room == nil {
		x.room = make(chan struct{}, 1)
	}
	until := x.deadline
	x.mu.Unlock()
	consumed := false // the library has, or had, the file
	if last := &ops[count-1]; last.kind == C.GWGO_FILE {
		fd := int(last.fd)
		defer func() {
			if !consumed {
				syscall.Close(fd)
			}
		}()
	}
	if !until.IsZero() {
		if !time.Now().Before(until) {
			w.err = errDeadline
			return w.err
		}
		// What is lent comes back when the answer is given up.
		var late atomic.Bool
		cut := time.AfterFunc(time.Until(until), func() {
			if x.end() {
				late.Store(true) // before the writer is woken
				x.sayEnd(C.GW_ERR_CLOSED)
			}
		})
		defer func() {
			if !cut.Stop() && late.Load() {
				w.err = errDeadline
				err = w.err
			}
		}()
	}
	for {
		var rc C.gw_result
		if rc, consumed = x.loop.do(x, count, ops, head, body); rc == C.GW_OK {
			return nil
		}
		if rc == C.GW_AGAIN {
			if w.err = wait(x.room, until); w.err == nil {
				// The head was taken.
				ops[0], count = ops[count-1], 1
				continue
			}
			return w.err
		}
		w.err = writeError(rc)
		return w.err
	}
}

// sniff sets the type of what begins so, as net/http does.
func (w *response) sniff(begin []byte) {
	w.typed = true
	if !bodyAllowed(w.status) {
		return
	}
	memory := w.memory()
	memory.head = appendField(memory.head, "Content-Type", http.DetectContentType(begin))
}

// finish ends the answer when the handler has returned.
func (w *response) finish() {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	for name := range w.header {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			w.x.log(slog.LevelWarn, "http: trailers are not sent: "+name+" was left out", "")
		}
	}
	memory := w.memory()
	switch {
	case w.begun && len(memory.body) > 0 && w.err == nil && !w.isHead():
		// With the end, so that a client that stops behind the last octet has seen it.
		w.over.Store(true)
		if w.x.end() {
			ops := [2]C.gwgo_op{w.op(C.GWGO_LAST, 0)}
			if w.do(1, &ops, nil, memory.body) != nil {
				w.x.loop.post(w.x, w.op(C.GWGO_END, C.GW_ERR_CLOSED), nil, nil)
			}
		}
		w.release()
		return
	case w.begun:
	case w.isHead() && w.written == 0 && w.length < 0:
		// A handler that leaves the body of HEAD out says nothing of its length: the library, which leaves it
		// out anyway, is to see that there would be one.
		_ = w.send([]byte{' '})
	default:
		if !w.typed && len(memory.body) > 0 {
			w.sniff(memory.body)
		}
		w.over.Store(true)
		if w.isHead() && w.length >= 0 || w.length > w.written {
			_ = w.send(memory.body)
			break
		}
		if w.x.end() {
			w.x.loop.post(w.x, w.op(C.GWGO_REPLY, w.status), memory.head, memory.body)
		}
		w.release()
		return
	}
	w.over.Store(true)
	rc := C.gw_result(C.GW_OK)
	if w.err != nil {
		rc = C.GW_ERR_CLOSED
	}
	w.x.giveUp(rc)
}

func (w *response) isHead() bool { return w.x.request.Method == http.MethodHead }

// SetWriteDeadline is for http.ResponseController: a write that waits longer for the client fails.
func (w *response) SetWriteDeadline(deadline time.Time) error {
	w.x.mu.Lock()
	defer w.x.mu.Unlock()
	w.x.deadline = deadline
	return nil
}

// SetReadDeadline is for http.ResponseController: a read that waits longer for the body fails.
func (w *response) SetReadDeadline(deadline time.Time) error {
	w.x.mu.Lock()
	defer w.x.mu.Unlock()
	w.x.body.until = deadline
	wake(w.x.input) // whoever reads looks at the clock again
	return nil
}

// EnableFullDuplex is for http.ResponseController: reading while writing is always possible.
func (w *response) EnableFullDuplex() error { return nil }
