package gateway

// #include "shim.h"
import "C"

import (
	"os"
	"sync"
	"syscall"
	"time"
)

// Arbiter starts workers and watches them, in the process that called [Serve].  It is there from the hook
// OnStarting to OnExit; its methods may be called by any goroutine, and are [ErrState] from then on.
type Arbiter struct {
	mu sync.RWMutex
	a  *C.gw_arbiter // nil: it has gone
}

// Reload begins to start the program again for new workers, one after the other, each in the place of an
// old one, with no request lost: what HUP does.
func (a *Arbiter) Reload() error {
	return a.call("reload", func(a *C.gw_arbiter) C.gw_result { return C.gw_arbiter_reload(a, nil) })
}

// Upgrade starts the program again with an arbiter of its own, and both serve: what USR2 does.
func (a *Arbiter) Upgrade() error {
	return a.call("upgrade", func(a *C.gw_arbiter) C.gw_result { return C.gw_arbiter_upgrade(a) })
}

// Scale says how many workers there are to be, 1 to 1024.
func (a *Arbiter) Scale(workers int) error {
	if workers < 0 || workers > 1<<20 {
		workers = 0
	}
	return a.call("scale", func(a *C.gw_arbiter) C.gw_result { return C.gw_arbiter_scale(a, C.uint32_t(workers)) })
}

// Stop lets [Serve] return when the requests that are there were answered.
func (a *Arbiter) Stop() error {
	return a.call("stop", func(a *C.gw_arbiter) C.gw_result { return C.gw_arbiter_stop(a, C.GW_STOP_GRACEFUL) })
}

// Signal does what the signal would do.
func (a *Arbiter) Signal(signal os.Signal) error {
	return a.call("signal "+signal.String(), func(a *C.gw_arbiter) C.gw_result {
		number, ok := signal.(syscall.Signal)
		if !ok {
			return C.GW_ERR_UNSUPPORTED
		}
		return C.gw_arbiter_signal(a, C.int32_t(number))
	})
}

// Stats are the counters of all workers, those that have ended included.
func (a *Arbiter) Stats() (Stats, error) {
	out := C.gw_stats{size: C.sizeof_gw_stats}
	err := a.call("stats", func(a *C.gw_arbiter) C.gw_result { return C.gw_arbiter_stats(a, &out) })
	if err != nil {
		return Stats{}, err
	}
	return statsOf(&out), nil
}

// call asks the library, which waits for nobody, unless there is no arbiter any more.
func (a *Arbiter) call(what string, ask func(*C.gw_arbiter) C.gw_result) error {
	a.mu.RLock()
	defer a.mu.RUnlock()
	rc := C.gw_result(C.GW_ERR_STATE)
	if a.a != nil {
		rc = ask(a.a)
	}
	if rc < 0 {
		return resultError(what, rc)
	}
	return nil
}

// gone is said before the library frees it.
func (a *Arbiter) gone() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.a = nil
}

// Stats is what was counted; gw_stats(3) says more of each.
type Stats struct {
	Workers       int           // now
	Uptime        time.Duration //
	Accepted      uint64        // connections, ever
	Connections   uint64        // now
	Requests      uint64        // ever
	InFlight      uint64        // now
	Status        [6]uint64     // [2] counts the 2xx
	Sent          uint64        // octets of the bodies
	Received      uint64
	AppErrors     uint64 // answered with a 500, or cut
	Aborted       uint64 // whose client left
	Timeouts      uint64 // whose client was too slow
	Rejected      uint64 // that were malformed, or over a limit
	Limited       uint64 // of these, over a limit
	Shed          uint64 // answered with 503
	Spawned       uint64 // workers that were started; here and below: of an arbiter
	Exited        uint64 // and have ended
	Killed        uint64 // of these, by the arbiter
	Reloads       uint64 // that ended well
	ReloadsFailed uint64
	Ready         bool // it serves, and was not told to stop
}

func statsOf(from *C.gw_stats) Stats {
	stats := Stats{
		Workers:       int(from.workers),
		Uptime:        time.Duration(from.uptime_ms) * time.Millisecond,
		Accepted:      uint64(from.accepted),
		Connections:   uint64(from.connections),
		Requests:      uint64(from.requests),
		InFlight:      uint64(from.in_flight),
		Sent:          uint64(from.sent),
		Received:      uint64(from.received),
		AppErrors:     uint64(from.app_errors),
		Aborted:       uint64(from.aborted),
		Timeouts:      uint64(from.timeouts),
		Rejected:      uint64(from.rejected),
		Limited:       uint64(from.limited),
		Shed:          uint64(from.shed),
		Spawned:       uint64(from.spawned),
		Exited:        uint64(from.exited),
		Killed:        uint64(from.killed),
		Reloads:       uint64(from.reloads),
		ReloadsFailed: uint64(from.reloads_failed),
		Ready:         from.ready != 0,
	}
	for i := range from.status {
		stats.Status[i] = uint64(from.status[i])
	}
	return stats
}
