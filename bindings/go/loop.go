package gateway

// #include "shim.h"
// #include <stdlib.h>
import "C"

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// A loop turns one server of the library's, and hands its requests to goroutines.
//
// Whoever has something to say to the library appends an op, and, when nobody turns the server
// just then, does so itself: the answer of a lonely request leaves without waking anybody.  Under
// load the one that turns lets the others run first, and takes what they all have to say along: of
// many requests one crossing is made, not two of each.
type loop struct {
	batch *C.gwgo_batch // what the last turn brought; of whoever turns
	about *about
	gate  gate                  // to the runtime's poller
	live  map[uintptr]*exchange // by gw_deferred
	ended chan struct{}         // closed behind the last turn

	mu      sync.Mutex
	server  *C.gw_server // nil when it has ended
	turning bool         // somebody does
	again   bool         // and is to do it once more
	ops     []C.gwgo_op
	who     []*exchange // who waits for what comes of each op
	text    []byte      // what the ops are about
	tickets map[uint64]*exchange
	ticket  uint64
	spare   spares
	err     error

	rounds atomic.Uint64    // crossings, so far
	idle   []chan *exchange // goroutines that wait for a request, the last to come first

	armed time.Time // when the poller will wake the waiting goroutine
}

// What a turn has done with, for the next.
type spares struct {
	ops  []C.gwgo_op
	who  []*exchange
	text []byte
}

func newLoop(server *C.gw_server, about *about) (*loop, error) {
	gate, err := newGate(int(C.gw_server_fd(server)))
	if err != nil {
		return nil, err
	}
	batch := C.gwgo_batch_new()
	if batch == nil {
		gate.file.Close()
		return nil, resultError("a loop", C.GW_ERR_MEMORY)
	}
	l := &loop{
		batch:   batch,
		about:   about,
		gate:    gate,
		live:    make(map[uintptr]*exchange),
		tickets: make(map[uint64]*exchange),
		ended:   make(chan struct{}),
		server:  server,
	}
	runtime.SetFinalizer(l, (*loop).free)
	return l, nil
}

// run turns the server until it has ended.
func (l *loop) run() error {
	defer l.gate.file.Close()
	conn, err := l.gate.file.SyscallConn()
	if err != nil {
		return err
	}
	for !l.hasEnded() {
		// The function is asked whenever the descriptor has become readable.
		err := conn.Read(func(uintptr) bool {
			l.turn()
			return l.hasEnded()
		})
		if err != nil && !os.IsTimeout(err) && !l.hasEnded() {
			l.abort()
			return err
		}
		l.disarm()
	}
	return l.err
}

func (l *loop) hasEnded() bool {
	select {
	case <-l.ended:
		return true
	default:
		return false
	}
}

// turn turns the server until there is nothing to do, unless somebody else is about to.
func (l *loop) turn() {
	if l.claim() {
		l.lead()
	}
}

// turnOnce is turn for who has something else to do.
func (l *loop) turnOnce() {
	if l.claim() {
		l.help()
	}
}

// claim says whether the caller is to turn now; else whoever does will do it once more.
func (l *loop) claim() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.turning {
		l.again = true
		return false
	}
	l.turning = true
	return true
}

// post hands the last op of a request over, which nobody waits for.  head and body are copied.
func (l *loop) post(x *exchange, op C.gwgo_op, head, body []byte) {
	l.mu.Lock()
	x.gone = true
	l.push(op, nil, head, body)
	if l.turning {
		l.mu.Unlock()
		return
	}
	l.turning = true
	l.mu.Unlock()
	l.lead()
}

// do hands ops of one request over, and waits for what comes of them: the first failure, or the result
// of the last, and whether what is given with it is the library's business now.
func (l *loop) do(x *exchange, count int, ops *[2]C.gwgo_op, head, body []byte) (rc C.gw_result, consumed bool) {
	x.result = C.GW_OK
	l.mu.Lock()
	if x.gone {
		l.mu.Unlock()
		return C.GW_ERR_CLOSED, false
	}
	for _, op := range ops[:count] {
		if op.kind == C.GWGO_HEAD {
			l.push(op, x, head, nil)
		} else {
			l.push(op, x, nil, body)
		}
	}
	if l.turning {
		l.mu.Unlock()
		<-x.done
		return x.result, x.result != C.GW_AGAIN
	}
	l.turning = true
	l.mu.Unlock()
	l.help()
	<-x.done
	return x.result, x.result != C.GW_AGAIN
}

func (l *loop) push(op C.gwgo_op, who *exchange, head, body []byte) {
	if op.kind != C.GWGO_LEND && op.kind != C.GWGO_FILE {
		op.head, op.head_len = C.uint64_t(len(l.text)), C.uint64_t(len(head))
		l.text = append(l.text, head...)
		op.body, op.body_len = C.uint64_t(len(l.text)), C.uint64_t(len(body))
		l.text = append(l.text, body...)
	}
	if op.kind == C.GWGO_LEND {
		l.ticket++
		op.ticket = C.uint64_t(l.ticket)
		l.tickets[l.ticket] = who
	}
	l.ops = append(l.ops, op)
	l.who = append(l.who, who)
}

// Rounds without a rest, after which the poller need not know of what comes.
const busy = 2

// lead does round after round until there is nothing to do.  For who has set turning.
func (l *loop) lead() {
	for n := 0; ; n++ {
		if n == busy && l.server != nil { // else its file may be closed
			l.gate.shut()
		}
		if l.round() {
			// Those that were just started may have something to say.
			runtime.Gosched()
		}
		if l.rests() {
			return
		}
	}
}

// help does one round.  For who has set turning; what else there is to do is not this goroutine's business.
func (l *loop) help() {
	l.round()
	if !l.rests() {
		go l.lead()
	}
}

// rests says whether there is nothing to do; then somebody else may turn.
func (l *loop) rests() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.ops) > 0 || l.again || l.batch.more != 0 {
		return false
	}
	if l.server != nil && l.batch.wait_ms == 0 {
		return false
	}
	l.arm(int64(l.batch.wait_ms))
	if l.server != nil { // else its file may be closed
		l.gate.open()
	}
	l.turning = false
	return true
}

// arm sees that the waiting goroutine wakes in so many milliseconds.  An earlier time does no harm.
func (l *loop) arm(waitMs int64) {
	if waitMs < 0 || l.server == nil {
		return
	}
	now := time.Now()
	at := now.Add(time.Duration(waitMs) * time.Millisecond)
	if l.armed.After(now) && !l.armed.After(at) {
		return
	}
	l.armed = at
	// Fails when the file is closed, and then nobody waits.
	_ = l.gate.file.SetReadDeadline(at)
}

// disarm takes a time back that has come: the poller would ask nobody any more.
func (l *loop) disarm() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.armed.IsZero() && !l.armed.After(time.Now()) {
		l.armed = time.Time{}
		_ = l.gate.file.SetReadDeadline(time.Time{})
	}
}

// round is one crossing: what was to be done, a turn, and what it brought; whether there were requests.
func (l *loop) round() bool {
	l.mu.Lock()
	ops, who, text, server := l.ops, l.who, l.text, l.server
	l.ops, l.who, l.text = l.spare.ops[:0], l.spare.who[:0], l.spare.text[:0]
	l.again = false
	l.mu.Unlock()

	out := l.batch
	rc := C.gwgo_turn(server, unsafe.SliceData(ops), C.size_t(len(ops)),
		(*C.char)(unsafe.Pointer(unsafe.SliceData(text))), out)
	l.rounds.Add(1)

	for i := range ops {
		if kind := ops[i].kind; kind == C.GWGO_REPLY || kind == C.GWGO_END ||
			kind == C.GWGO_LAST && ops[i].rc == C.GW_OK {
			delete(l.live, uintptr(ops[i].d))
		}
		if who[i] == nil {
			continue
		}
		x := who[i]
		who[i] = nil
		if x.result >= 0 {
			x.result = ops[i].rc
		}
		if i+1 < len(ops) && who[i+1] == x {
			continue // its last op is the next
		}
		if ops[i].kind == C.GWGO_LEND && ops[i].rc != C.GW_OK {
			l.forget(uint64(ops[i].ticket))
		} else if ops[i].kind == C.GWGO_LEND {
			continue // until it is released
		}
		x.done <- struct{}{}
	}
	for _, ticket := range out.released[:out.released_n] {
		if x := l.forget(uint64(ticket)); x != nil {
			x.done <- struct{}{}
		}
	}
	for i := range out.events[:out.events_n] {
		if x := l.live[uintptr(unsafe.Pointer(out.events[i].d))]; x != nil {
			x.tell(out.events[i].what)
		}
	}
	for i := range out.taken[:out.taken_n] {
		x := l.about.exchange(l, &out.taken[i])
		l.live[x.d] = x
		l.start(x)
	}

	l.mu.Lock()
	l.spare = spares{ops, who, text}
	l.mu.Unlock()
	if rc != C.GW_OK && server != nil {
		l.end(rc)
	}
	return out.taken_n > 0
}

// Goroutines that have served and may serve again: their stacks have grown to what handlers need.
const idleRunners = 256

// start serves x in a goroutine of its own.
func (l *loop) start(x *exchange) {
	l.mu.Lock()
	if last := len(l.idle) - 1; last >= 0 {
		runner := l.idle[last]
		l.idle = l.idle[:last]
		l.mu.Unlock()
		runner <- x
		return
	}
	l.mu.Unlock()
	go l.runner(x)
}

// runner serves one request after the other, for as long as some follow.
func (l *loop) runner(x *exchange) {
	next := make(chan *exchange, 1)
	for x != nil {
		x.run()
		l.mu.Lock()
		if l.server == nil || len(l.idle) >= idleRunners {
			l.mu.Unlock()
			return
		}
		l.idle = append(l.idle, next)
		l.mu.Unlock()
		x = <-next
	}
}

// free is for when no request knows the loop any more.
func (l *loop) free() {
	if len(l.tickets) == 0 {
		C.free(unsafe.Pointer(l.batch))
	}
}

// abort ends it without the server's having ended.
func (l *loop) abort() {
	l.seize()
	if !l.hasEnded() {
		l.end(C.GW_ERR_IO)
	}
	l.lead()
}

// seize waits until nobody turns; from then on the caller does.
func (l *loop) seize() {
	for is := false; !is; runtime.Gosched() {
		l.mu.Lock()
		is = !l.turning
		l.turning = true
		l.mu.Unlock()
	}
}

// forget takes a ticket back.
func (l *loop) forget(ticket uint64) *exchange {
	l.mu.Lock()
	defer l.mu.Unlock()
	x := l.tickets[ticket]
	delete(l.tickets, ticket)
	return x
}

// end is called when the server has stopped, or failed.
func (l *loop) end(rc C.gw_result) {
	l.mu.Lock()
	l.server = nil
	for _, runner := range l.idle {
		runner <- nil
	}
	l.idle = nil
	if rc != C.GW_EOF {
		l.err = resultError("gw_server_turn", rc)
	}
	l.mu.Unlock()
	// Nobody tells them any more.
	for _, x := range l.live {
		x.tell(C.GW_EVENT_ABORTED)
		x.tell(C.GW_EVENT_READABLE)
		x.tell(C.GW_EVENT_WRITABLE)
	}
	close(l.ended)
	_ = l.gate.file.SetReadDeadline(time.Unix(1, 0))
}
