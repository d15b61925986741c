package gateway

// #include "shim.h"
import "C"

import (
	"context"
	"log/slog"
	"runtime/cgo"
	"unsafe"
)

// Hooks are functions that are called when something happens to the arbiter or its workers, by gunicorn's
// names; any may be nil.  Those of the arbiter run in its process, one at a time, and it waits for them.
type Hooks struct {
	OnStarting  func(*Arbiter)        // it listens, and starts its first worker
	WhenReady   func(*Arbiter)        // the first workers are all ready
	OnReload    func(*Arbiter)        // a reload begins
	Reloaded    func(*Arbiter, error) // it has ended; the error says why the old workers serve on
	PreExec     func(*Arbiter)        // the program is about to be started again, for an upgrade
	OnExit      func(*Arbiter)        // no worker is left
	Spawned     func(Worker)          // a worker was started
	WorkerReady func(Worker)          // it serves
	ChildExit   func(Worker)          // it has ended

	NWorkersChanged func(now, before int) // there are to be so many workers

	WorkerInit func(Worker) error // first in a worker; an error refuses it
	WorkerExit func(Worker)       // last in a worker
}

// Worker is a worker, as hooks are told of it.
type Worker struct {
	PID        int
	Slot       int // its place, from 0; one that replaces another has the other's
	Generation int // counts reloads
	Pool       string
	ExitStatus int // in ChildExit, as from wait4; -1: somebody else has waited for it
	Cause      int // in ChildExit, GW_CAUSE_*: 0 for reasons of its own, 1 it was told to stop ...
}

func workerOf(w *C.gw_worker) Worker {
	return Worker{
		PID:        int(w.pid),
		Slot:       int(w.slot),
		Generation: int(w.generation),
		Pool:       C.GoString(w.pool),
		ExitStatus: int(w.exit_status),
		Cause:      int(w.cause),
	}
}

func settingsOf(handle C.uintptr_t) *settings { return cgo.Handle(handle).Value().(*settings) }

// gwgoWorkerRun lives for as long as the worker does.  Its thread was called from C and is of no use for
// goroutines: the loop is in another.
//
//export gwgoWorkerRun
func gwgoWorkerRun(handle C.uintptr_t, w *C.gw_worker) C.gw_result {
	s := settingsOf(handle)
	about := s.about // with worker_model=threads others do the same
	about.local = listening(w.server)
	l, err := newLoop(w.server, &about)
	if err == nil {
		ended := make(chan error)
		go func() { ended <- l.run() }()
		err = <-ended
	}
	if err != nil {
		s.report(err)
		return C.GW_ERR_APP
	}
	return C.GW_OK
}

//export gwgoWorkerInit
func gwgoWorkerInit(handle C.uintptr_t, w *C.gw_worker) (rc C.gw_result) {
	s := settingsOf(handle)
	if s.hooks.WorkerInit == nil {
		return C.GW_OK
	}
	if err := s.hooks.WorkerInit(workerOf(w)); err != nil {
		s.report(err)
		return C.GW_ERR_APP
	}
	return C.GW_OK
}

//export gwgoOnWorker
func gwgoOnWorker(handle C.uintptr_t, which C.int, w *C.gw_worker) {
	hooks := &settingsOf(handle).hooks
	hook := map[C.int]func(Worker){
		C.GWGO_SPAWNED:      hooks.Spawned,
		C.GWGO_WORKER_READY: hooks.WorkerReady,
		C.GWGO_CHILD_EXIT:   hooks.ChildExit,
		C.GWGO_WORKER_EXIT:  hooks.WorkerExit,
	}[which]
	if hook != nil {
		hook(workerOf(w))
	}
}

//export gwgoOnScale
func gwgoOnScale(handle C.uintptr_t, now, before C.uint32_t) {
	if hook := settingsOf(handle).hooks.NWorkersChanged; hook != nil {
		hook(int(now), int(before))
	}
}

//export gwgoOnArbiter
func gwgoOnArbiter(handle C.uintptr_t, which C.int, a *C.gw_arbiter, failure *C.gw_error) {
	s := settingsOf(handle)
	if s.arbiter == nil {
		s.arbiter = &Arbiter{a: a}
	}
	hooks := &s.hooks
	if which == C.GWGO_RELOADED && hooks.Reloaded != nil {
		var err error
		if failure != nil {
			err = errorOf(failure, failure.code)
		}
		hooks.Reloaded(s.arbiter, err)
	}
	hook := map[C.int]func(*Arbiter){
		C.GWGO_ON_STARTING: hooks.OnStarting,
		C.GWGO_WHEN_READY:  hooks.WhenReady,
		C.GWGO_ON_RELOAD:   hooks.OnReload,
		C.GWGO_PRE_EXEC:    hooks.PreExec,
		C.GWGO_ON_EXIT:     hooks.OnExit,
	}[which]
	if hook != nil {
		hook(s.arbiter)
	}
	if which == C.GWGO_ON_EXIT {
		s.arbiter.gone()
	}
}

// report is for an error that C cannot hear the text of.
func (s *settings) report(err error) {
	if s.logger != nil {
		s.logger.Error(err.Error())
		return
	}
	slog.Error(err.Error())
}

//export gwgoLog
func gwgoLog(handle C.uintptr_t, record *C.gw_log_record) {
	logger, _ := cgo.Handle(handle).Value().(*slog.Logger)
	level := levelOf(record.level)
	if !logger.Enabled(context.Background(), level) {
		return
	}
	attrs := []slog.Attr{slog.String("target", text(record.target))}
	if record.id.len > 0 {
		attrs = append(attrs, slog.String("request", text(record.id)))
	}
	logger.LogAttrs(context.Background(), level, text(record.message), attrs...)
}

// gwgoLogDrop is called when nothing will be logged any more.
//
//export gwgoLogDrop
func gwgoLogDrop(handle C.uintptr_t) { cgo.Handle(handle).Delete() }

func text(s C.gw_str) string { return C.GoStringN((*C.char)(unsafe.Pointer(s.data)), C.int(s.len)) }
