package tests

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"

	"libgateway.org/go/gateway"
)

// logged is a log that is looked at while it is written.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// serve has a server of ours in this process until the test ends.
func serve(t *testing.T, handler http.Handler, to *logged) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &gateway.Server{Handler: handler}
	if to != nil {
		s.Options = append(s.Options, gateway.Logger(slog.New(slog.NewTextHandler(to, nil))))
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != http.ErrServerClosed {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}
