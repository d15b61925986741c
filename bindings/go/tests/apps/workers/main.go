// workers ADDRESS [OPTION=VALUE ...]: a program whose workers are reloaded, upgraded and brought down.
package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"libgateway.org/go/gateway"
)

func main() {
	var arbiter *gateway.Arbiter
	options := []gateway.Option{
		gateway.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))),
		gateway.WithHooks(gateway.Hooks{
			Reloaded: func(_ *gateway.Arbiter, err error) { fmt.Fprintf(os.Stderr, "reloaded: %v\n", err) },
			OnExit: func(a *gateway.Arbiter) {
				arbiter = a
				statistics(a)
			},
			NWorkersChanged: func(now, before int) { fmt.Fprintf(os.Stderr, "workers: %d, not %d\n", now, before) },
			ChildExit: func(w gateway.Worker) {
				fmt.Fprintf(os.Stderr, "worker %d has ended: status %d, cause %d\n", w.PID, w.ExitStatus, w.Cause)
			},
			WorkerInit: func(w gateway.Worker) error {
				if _, err := os.Stat(os.Getenv("WORKERS_REFUSE")); err == nil {
					return errors.New("this worker refuses to boot")
				}
				return nil
			},
		}),
	}
	for _, arg := range os.Args[2:] {
		name, value, _ := strings.Cut(arg, "=")
		options = append(options, gateway.Set(name, value))
	}

	http.HandleFunc("/pid", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getpid()) })
	http.HandleFunc("/arbiter", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, os.Getppid()) })
	http.HandleFunc("/procs", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, runtime.GOMAXPROCS(0)) })
	http.HandleFunc("/slow", slow)
	http.HandleFunc("/exit", func(http.ResponseWriter, *http.Request) { os.Exit(7) })
	http.HandleFunc("/die", func(w http.ResponseWriter, r *http.Request) {
		go panic("nobody recovers this")
		<-r.Context().Done()
	})
	http.HandleFunc("/spin", spin)
	http.HandleFunc("/count", func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, " ", err)
	})

	err := gateway.ListenAndServe(os.Args[1], nil, options...)
	if arbiter != nil {
		fmt.Fprintf(os.Stderr, "stopped again: %v\n", arbiter.Stop())
	}
	if errors.Is(err, http.ErrServerClosed) {
		return
	}
	fmt.Fprintln(os.Stderr, err)
	status := 1
	var failure *gateway.Error
	if errors.As(err, &failure) {
		status = failure.ExitStatus
	}
	os.Exit(status)
}

func statistics(a *gateway.Arbiter) {
	s, err := a.Stats()
	fmt.Fprintf(os.Stderr, "statistics: %v requests=%d ok=%d errors=%d spawned=%d exited=%d killed=%d reloads=%d failed=%d\n",
		err, s.Requests, s.Status[2], s.Status[5], s.Spawned, s.Exited, s.Killed, s.Reloads, s.ReloadsFailed)
}

// slow answers in pieces, until the file that is asked for is there.
func slow(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintln(w, "begun")
	http.NewResponseController(w).Flush()
	for r.Context().Err() == nil {
		if _, err := os.Stat(r.URL.Query().Get("until")); err == nil {
			fmt.Fprintln(w, "done")
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

var stop atomic.Bool

// spin never returns, and asks nobody whether it may.
func spin(w http.ResponseWriter, r *http.Request) {
	for !stop.Load() {
	}
}
