package gateway

// #include "shim.h"
import "C"
import (
	"io"
	"net/http"
	"time"
	"unsafe"
)

// body is what the client sends behind the head.
type body struct {
	x      *exchange
	here   []byte // came with the request
	whole  bool   // nothing follows that
	closed bool
	err    error // of the last read, which stays
	until  time.Time
}

func (b *body) Read(p []byte) (int, error) {
	for {
		n, err, until, waits := b.read(p)
		if !waits {
			return n, err
		}
		// The server has just been told that somebody waits.
		b.x.loop.turnOnce()
		if err := wait(b.x.input, until); err != nil {
			b.x.mu.Lock()
			b.err = err
			b.x.mu.Unlock()
			return 0, err
		}
	}
}

// read is what can be read at once; waits: nothing, and x.input will say when, until then.
func (b *body) read(p []byte) (n int, err error, until time.Time, waits bool) {
	x := b.x
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case x.over || b.closed:
		wake(x.input) // another who waits
		return 0, http.ErrBodyReadAfterClose, until, false
	case len(b.here) > 0:
		n = copy(p, b.here)
		if b.here = b.here[n:]; len(b.here) == 0 && b.whole {
			err = io.EOF
		}
		return n, err, until, false
	case b.whole:
		return 0, io.EOF, until, false
	case b.err != nil || len(p) == 0:
		return 0, b.err, until, false
	}
	if x.input == nil {
		x.input = make(chan struct{}, 1)
	}
	var got C.size_t
	// As octets: p may be in the middle of something with pointers.
	rc := C.gwgo_read(C.uintptr_t(x.d), (*C.char)(unsafe.Pointer(unsafe.SliceData(p))), C.size_t(len(p)), &got)
	switch rc {
	case C.GW_OK:
	case C.GW_EOF:
		b.whole = true
		err = io.EOF
	case C.GW_AGAIN:
		return 0, nil, b.until, true
	default:
		b.err = bodyError(rc)
		err = b.err
	}
	return int(got), err, until, false
}

func (b *body) Close() error {
	b.x.mu.Lock()
	defer b.x.mu.Unlock()
	b.closed = true
	wake(b.x.input)
	return nil
}

// bodyError is what a reader of a body hears: a body cut short is io.ErrUnexpectedEOF, as in net/http.
func bodyError(rc C.gw_result) error {
	switch rc {
	case C.GW_ERR_CLOSED:
		return io.ErrUnexpectedEOF
	case C.GW_ERR_TIMEOUT:
		return errDeadline
	}
	return resultError("read the body of a request", rc)
}
