package tests

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"libgateway.org/go/gateway"
)

// workers starts apps/workers, and waits until it serves.
func workers(t *testing.T, env []string, options ...string) (p *Process, address string) {
	t.Helper()
	address = freeAddresses(t, 1)[0]
	p = start(t, env, build(t, "workers"), append([]string{address}, options...)...)
	p.listening(address)
	return p, address
}

// pids asks on new connections until so many different workers have answered, none of them among those.
func pids(t *testing.T, address string, n int, but map[string]bool) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	ask := fresh(address, "/pid")
	eventually(t, fmt.Sprint(n, " workers"), func() bool {
		pid, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		if !but[pid] {
			found[pid] = true
		}
		return len(found) >= n
	})
	return found
}

func lives(pid int) bool { return syscall.Kill(pid, 0) == nil }

func (p *Process) exited() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(deadline):
		p.t.Fatalf("it does not end:\n%s", p.Log())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Four workers are reloaded again and again while clients ask, and no request fails.
func TestReloadUnderLoad(t *testing.T) {
	p, address := workers(t, nil, "workers=4")
	before := pids(t, address, 4, nil)
	l := startLoad(t, 8, address, "/pid")
	l.more(t, 200)
	const reloads = 3
	for i := 1; i <= reloads; i++ {
		p.signal(syscall.SIGHUP)
		eventually(t, fmt.Sprint("reload ", i), func() bool {
			return strings.Count(p.Log(), "reloaded: <nil>") == i || l.broken()
		})
		l.more(t, 200)
	}
	good := l.end(t)
	after := pids(t, address, 4, before)
	if n := l.who(); n < 4*(reloads+1)/2 {
		t.Errorf("only %d workers have answered", n)
	}
	p.signal(syscall.SIGTERM)
	if status := p.exited(); status != 0 {
		t.Errorf("it ended with %d", status)
	}
	for pid := range after {
		n, _ := strconv.Atoi(pid)
		eventually(t, "the end of worker "+pid, func() bool { return !lives(n) })
	}
	t.Logf("%d requests, %d workers", good, l.who())

	// The statistics are of all workers that there were.
	var requests, ok, failures, spawned, exited, killed, reloaded, failed int64
	_, line, _ := strings.Cut(p.Log(), "statistics: <nil> ")
	if _, err := fmt.Sscanf(line, "requests=%d ok=%d errors=%d spawned=%d exited=%d killed=%d reloads=%d failed=%d",
		&requests, &ok, &failures, &spawned, &exited, &killed, &reloaded, &failed); err != nil {
		t.Fatalf("%v in %q", err, line)
	}
	if requests < good || ok < good || failures != 0 || spawned != 4*(reloads+1) || exited != spawned || killed != 0 ||
		reloaded != reloads || failed != 0 {
		t.Errorf("after %d requests: %s", good, line)
	}
}

// TTIN and TTOU change how many workers there are, which a hook is told; who asks the arbiter when it has gone hears so.
func TestMoreAndFewerWorkers(t *testing.T) {
	p, address := workers(t, nil)
	p.signal(syscall.SIGTTIN)
	eventually(t, "a worker more", func() bool { return strings.Contains(p.Log(), "workers: 2, not 1") })
	pids(t, address, 2, nil)
	p.signal(syscall.SIGTTOU)
	eventually(t, "a worker less", func() bool { return strings.Contains(p.Log(), "workers: 1, not 2") })
	p.signal(syscall.SIGTERM)
	if status := p.exited(); status != 0 {
		t.Errorf("it ended with %d", status)
	}
	if words := "stopped again: stop: " + gateway.ErrState.Error(); !strings.Contains(p.Log(), words) {
		t.Errorf("not %q", words)
	}
}

// A program that does not boot any more leaves the old workers where they are.
func TestReloadThatFails(t *testing.T) {
	refuse := filepath.Join(t.TempDir(), "refuse")
	p, address := workers(t, []string{"WORKERS_REFUSE=" + refuse}, "workers=2")
	before := pids(t, address, 2, nil)
	l := startLoad(t, 4, address, "/pid")
	if err := os.WriteFile(refuse, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	p.signal(syscall.SIGHUP)
	eventually(t, "word of the failure", func() bool {
		_, why, is := strings.Cut(p.Log(), "reloaded: ")
		return is && !strings.HasPrefix(why, "<nil>") && strings.Contains(p.Log(), "this worker refuses to boot")
	})
	l.more(t, 100)
	l.end(t)
	l.answered.Range(func(pid, _ any) bool {
		if !before[pid.(string)] {
			t.Errorf("worker %v has answered", pid)
		}
		return true
	})
	os.Remove(refuse)
	p.signal(syscall.SIGHUP)
	eventually(t, "a reload that works", func() bool { return strings.Contains(p.Log(), "reloaded: <nil>") })
	pids(t, address, 2, before)
}

// The program is started again with an arbiter of its own, the old one told to stop; no request fails.
func TestUpgradeUnderLoad(t *testing.T) {
	p, address := workers(t, nil, "workers=2")
	before := pids(t, address, 2, nil)
	l := startLoad(t, 8, address, "/pid")
	l.more(t, 100)
	p.signal(syscall.SIGUSR2)
	pids(t, address, 2, before)
	old := strconv.Itoa(p.cmd.Process.Pid)
	ask := fresh(address, "/arbiter")
	upgraded := 0
	eventually(t, "an answer from below the new arbiter", func() bool {
		parent, err := ask()
		if err != nil {
			t.Fatal(err)
		}
		if parent != old {
			upgraded, _ = strconv.Atoi(parent)
		}
		return upgraded > 1
	})
	t.Cleanup(func() {
		syscall.Kill(upgraded, syscall.SIGTERM)
		eventually(t, "the end of the new arbiter", func() bool { return !lives(upgraded) })
	})
	l.more(t, 100)
	p.signal(syscall.SIGTERM)
	if status := p.exited(); status != 0 {
		t.Errorf("it ended with %d", status)
	}
	l.more(t, 100)
	l.end(t)
	if parent, err := ask(); parent != strconv.Itoa(upgraded) {
		t.Errorf("%s answers, not %d: %v", parent, upgraded, err)
	}
}

// TERM lets the requests that are there end, and takes no more.
func TestTermWithRequestsInFlight(t *testing.T) {
	until := filepath.Join(t.TempDir(), "until")
	p, address := workers(t, nil, "workers=2")
	var bodies []*bufio.Reader
	for range 8 {
		conn := dial(t, address)
		fmt.Fprintf(conn, "GET /slow?until=%s HTTP/1.1\r\nHost: x\r\n\r\n", until)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		body := bufio.NewReader(res.Body)
		if line, err := body.ReadString('\n'); line != "begun\n" {
			t.Fatal(line, err)
		}
		bodies = append(bodies, body)
	}
	p.signal(syscall.SIGTERM)
	ask := fresh(address, "/pid")
	eventually(t, "an end of accepting", func() bool { _, err := ask(); return err != nil })
	if p.ended() {
		t.Error("it did not wait")
	}
	if err := os.WriteFile(until, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, body := range bodies {
		if rest, err := io.ReadAll(body); string(rest) != "done\n" || err != nil {
			t.Errorf("%q, %v", rest, err)
		}
	}
	if status := p.exited(); status != 0 {
		t.Errorf("it ended with %d", status)
	}
}

// Whatever a worker dies of, another is started in its place, and the others serve on.
func TestWorkersThatDie(t *testing.T) {
	p, address := workers(t, nil, "workers=2", "heartbeat_timeout=1s")
	kill := func(pid string, signal syscall.Signal) {
		n, _ := strconv.Atoi(pid)
		if err := syscall.Kill(n, signal); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name, target string
		signal       syscall.Signal
		word         string
	}{
		{name: "os.Exit", target: "/exit"},
		{name: "a panic in another goroutine", target: "/die", word: "nobody recovers this"},
		{name: "SIGKILL", signal: syscall.SIGKILL},
		{name: "stopped, and so without a heartbeat", signal: syscall.SIGSTOP},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := pids(t, address, 2, nil)
			ends := strings.Count(p.Log(), "has ended")
			if test.target != "" {
				if _, err := fresh(address, test.target)(); err == nil {
					t.Error("an answer came")
				}
			} else {
				for pid := range before {
					kill(pid, test.signal)
					break
				}
			}
			eventually(t, "the end of a worker", func() bool { return strings.Count(p.Log(), "has ended") == ends+1 })
			eventually(t, "what it said last", func() bool { return strings.Contains(p.Log(), test.word) })
			fresher := func() map[string]bool {
				found := map[string]bool{}
				ask := fresh(address, "/pid")
				eventually(t, "a new worker", func() bool {
					pid, err := ask()
					if err != nil {
						t.Fatal(err)
					}
					found[pid] = true
					for pid := range found {
						if !before[pid] {
							return true
						}
					}
					return false
				})
				return found
			}
			fresher()
		})
	}
}

// A handler that hangs costs its client a 504, and not the worker: its goroutine goes on, and so do others.
func TestRequestTimeout(t *testing.T) {
	p, address := workers(t, []string{"GOMAXPROCS=3"}, "workers=1", "request_timeout=200ms", "graceful_timeout=500ms")
	tr := newTransport(t)
	pid := get(t, tr, address, "/pid").Body
	if a := get(t, tr, address, "/spin"); a.Status != http.StatusGatewayTimeout {
		t.Errorf("%+v", a)
	}
	for range 20 {
		if a := get(t, tr, address, "/pid"); a.Body != pid {
			t.Errorf("worker %s answers, not %s", a.Body, pid)
		}
	}
	if a := get(t, tr, address, "/procs"); a.Body != "3" {
		t.Errorf("GOMAXPROCS is %s", a.Body)
	}
	// The goroutine that spins keeps the worker from its end for no longer than it may.
	p.signal(syscall.SIGTERM)
	if status := p.exited(); status != 0 {
		t.Errorf("it ended with %d", status)
	}
}

// What the library says of a configuration is the program's last word, and its exit status.
func TestWhatIsWrongIsSaid(t *testing.T) {
	for _, test := range []struct {
		option, words string
	}{
		{"workers=many", "workers"},
		{"no_such_option=1", "no_such_option"},
		{"heartbeat_timeout=soon", "heartbeat_timeout"},
	} {
		p := start(t, nil, build(t, "workers"), freeAddresses(t, 1)[0], test.option)
		if status := p.exited(); status != 1 {
			t.Errorf("%s: it ended with %d", test.option, status)
		}
		if lines := strings.Split(strings.TrimSpace(p.Log()), "\n"); len(lines) != 1 || !strings.Contains(lines[0], test.words) {
			t.Errorf("%s: %q", test.option, lines)
		}
	}
}
