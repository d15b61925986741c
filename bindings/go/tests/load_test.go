package tests

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// A load is a number of clients that ask one after the other until they are told to stop: half of them
// on connections that are kept, half on a new one for each request.
type load struct {
	good     atomic.Int64
	answered sync.Map // what was answered, to how often
	stop     context.CancelFunc
	wait     sync.WaitGroup

	mu     sync.Mutex
	failed []string
}

func startLoad(t *testing.T, clients int, address, target string) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{stop: cancel}
	for i := range clients {
		l.wait.Add(1)
		go func() {
			defer l.wait.Done()
			ask := fresh(address, target)
			if i%2 == 0 {
				tr := &http.Transport{}
				defer tr.CloseIdleConnections()
				ask = kept(tr, address, target)
			}
			for ctx.Err() == nil {
				body, err := ask()
				if err != nil {
					l.fail(fmt.Sprintf("client %d: %v", i, err))
					continue
				}
				n, _ := l.answered.LoadOrStore(body, new(atomic.Int64))
				n.(*atomic.Int64).Add(1)
				l.good.Add(1)
			}
		}()
	}
	t.Cleanup(func() {
		cancel()
		l.wait.Wait()
	})
	return l
}

func (l *load) fail(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.failed) < 20 {
		l.failed = append(l.failed, what)
	}
}

// more waits for so many further answers.
func (l *load) more(t *testing.T, n int64) {
	t.Helper()
	goal := l.good.Load() + n
	eventually(t, fmt.Sprint(n, " more answers"), func() bool { return l.good.Load() >= goal || l.broken() })
}

func (l *load) broken() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.failed) > 0
}

// end stops, and tells how many answers there were; none must have failed.
func (l *load) end(t *testing.T) int64 {
	t.Helper()
	l.stop()
	l.wait.Wait()
	for _, what := range l.failed {
		t.Error(what)
	}
	return l.good.Load()
}

// who is how many different answers there were.
func (l *load) who() (n int) {
	l.answered.Range(func(any, any) bool { n++; return true })
	return n
}

// kept is a client as programs have them.
func kept(tr *http.Transport, address, target string) func() (string, error) {
	return func() (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), deadline)
		defer cancel()
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://"+address+target, nil)
		res, err := tr.RoundTrip(req)
		return whole(res, err)
	}
}

// fresh tries nothing a second time.
func fresh(address, target string) func() (string, error) {
	return func() (string, error) {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", target); err != nil {
			return "", err
		}
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		return whole(res, err)
	}
}

func whole(res *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != 200 {
		err = fmt.Errorf("%s: %s", res.Status, body)
	}
	return string(body), err
}
