package tests

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// deadline is for what has to happen, on a machine that has much to do.
const deadline = 30 * time.Second

// programs is where build puts them; TestMain takes it away.
var programs string

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "gateway-go-tests-"); err != nil {
		panic(err)
	}
	// nginx's workers are another user, and look for files below it.
	os.Chmod(programs, 0o755)
	status := m.Run()
	os.RemoveAll(programs)
	os.Exit(status)
}

var built sync.Map // by package: func() error

// build compiles a program of apps/, once, as this test was compiled.
func build(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(programs, name)
	once, _ := built.LoadOrStore(name, sync.OnceValue(func() error {
		args := []string{"build", "-o", path}
		if race {
			args = append(args, "-race")
		}
		if out, err := exec.Command("go", append(args, "./apps/"+name)...).CombinedOutput(); err != nil {
			return fmt.Errorf("go %v: %w\n%s", args, err, out)
		}
		return nil
	}))
	if err := once.(func() error)(); err != nil {
		t.Fatal(err)
	}
	return path
}

// Process is one that a test started, and that ends with it.
type Process struct {
	t    *testing.T
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended

	mu  sync.Mutex
	out bytes.Buffer
}

func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

// Log is what it wrote so far, to either of its outputs.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

func start(t *testing.T, env []string, path string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.Env = append(os.Environ(), env...)
	// What it starts in turn must not keep Wait from returning.
	p.cmd.WaitDelay = time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		if !p.ended() {
			p.cmd.Process.Signal(syscall.SIGTERM)
			select {
			case <-p.done:
			case <-time.After(deadline):
				p.cmd.Process.Kill()
				<-p.done
				t.Errorf("%s did not end", path)
			}
		}
		if t.Failed() {
			t.Logf("%s:\n%s", filepath.Base(path), p.Log())
		}
		if strings.Contains(p.Log(), "DATA RACE") {
			t.Errorf("a race in %s:\n%s", path, p.Log())
		}
	})
	return p
}

func (p *Process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *Process) signal(sig syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited for %s in vain", what)
		}
	}
}

// listening waits until somebody accepts connections there, or the process has ended.
func (p *Process) listening(address string) {
	p.t.Helper()
	eventually(p.t, "a listener at "+address, func() bool {
		if p.ended() {
			p.t.Fatalf("%s ended:\n%s", p.cmd.Path, p.Log())
		}
		conn, err := net.Dial("tcp", address)
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

// freeAddresses gives addresses of the loopback interface that nobody has at this moment.
func freeAddresses(t *testing.T, n int) (addresses []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

// Answer is a response, read to its end.
type Answer struct {
	Status  int
	Proto   string
	Length  int64
	Coding  []string
	Header  http.Header
	Trailer http.Header
	Body    string
	Hints   []string // the status of each 1xx
	Err     error    // of the body
}

// newTransport takes nothing away from what comes.
func newTransport(t testing.TB) *http.Transport {
	tr := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 100, ExpectContinueTimeout: deadline}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// ask sends a request of the table.
func ask(t testing.TB, tr http.RoundTripper, address string, r request) Answer {
	t.Helper()
	method, target := r.method, r.target
	if method == "" {
		method = "GET"
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	var answer Answer
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		Got1xxResponse: func(status int, header textproto.MIMEHeader) error {
			answer.Hints = append(answer.Hints, fmt.Sprint(status, " ", header))
			return nil
		},
	})
	var body io.Reader
	if r.body != "" {
		body = strings.NewReader(r.body)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+address+target, body)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "app.example.org"
	for _, line := range strings.Split(r.header, "\n") {
		if name, value, ok := strings.Cut(line, ": "); ok && name == "Transfer-Encoding" {
			req.ContentLength = -1
			req.Body = io.NopCloser(strings.NewReader(r.body))
		} else if ok {
			req.Header.Add(name, value)
		}
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		t.Errorf("%s: %v", r.name, err)
		return Answer{Err: err}
	}
	all, err := io.ReadAll(res.Body)
	res.Body.Close()
	answer.Status, answer.Proto, answer.Length = res.StatusCode, res.Proto, res.ContentLength
	answer.Coding, answer.Header, answer.Trailer = res.TransferEncoding, res.Header, res.Trailer
	answer.Body, answer.Err = string(all), err
	return answer
}

// get is a plain GET, and has to work.
func get(t testing.TB, tr http.RoundTripper, address, target string) Answer {
	t.Helper()
	a := ask(t, tr, address, request{name: target, target: target})
	if a.Err != nil {
		t.Fatalf("%s: %v", target, a.Err)
	}
	return a
}
