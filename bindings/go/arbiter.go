package gateway

// #include "shim.h"
import "C"

import (
	"os"
	"syscall"
	"time"
)

// Arbiter starts workers and watches them, in the process that called [Serve].  It is there from the hook
// OnStarting to OnExit; its methods may be called by any goroutine between the two.
type Arbiter struct{ a *C.gw_arbiter }

// Reload begins to start the program again for new workers, one after the other, each in the place of an
// old one, with no request lost: what HUP does.
func (a *Arbiter) Reload() error {
	return failed("reload", C.gw_arbiter_reload(a.a, nil))
}

// Upgrade starts the program again with an arbiter of its own, and both serve: what USR2 does.
func (a *Arbiter) Upgrade() error { return failed("upgrade", C.gw_arbiter_upgrade(a.a)) }

// Scale says how many workers there are to be, 1 to 1024.
func (a *Arbiter) Scale(workers int) error {
	if workers < 0 || workers > 1<<20 {
		workers = 0
	}
	return failed("scale", C.gw_arbiter_scale(a.a, C.uint32_t(workers)))
}

// Stop lets [Serve] return when the requests that are there were answered.
func (a *Arbiter) Stop() error { return failed("stop", C.gw_arbiter_stop(a.a, C.GW_STOP_GRACEFUL)) }

// Signal does what the signal would do.
func (a *Arbiter) Signal(signal os.Signal) error {
	number, ok := signal.(syscall.Signal)
	if !ok {
		return failed("signal", C.GW_ERR_UNSUPPORTED)
	}
	return failed("signal "+signal.String(), C.gw_arbiter_signal(a.a, C.int32_t(number)))
}

// Stats are the counters of all workers, those that have ended included.
func (a *Arbiter) Stats() (Stats, error) {
	out := C.gw_stats{size: C.sizeof_gw_stats}
	if rc := C.gw_arbiter_stats(a.a, &out); rc < 0 {
		return Stats{}, resultError("stats", rc)
	}
	return statsOf(&out), nil
}

func failed(what string, rc C.gw_result) error {
	if rc < 0 {
		return resultError(what, rc)
	}
	return nil
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
