package httputil_test

import (
	"os"
	"testing"

	"libgateway.org/go/gateway/tests/nethttp/httptest"
)

// TestMain fails a test that asked nothing of a server.
func TestMain(m *testing.M) {
	status := m.Run()
	if status == 0 && httptest.Answered.Load() == 0 {
		os.Stdout.WriteString("no server was started\n")
		status = 1
	}
	os.Exit(status)
}

// neverEnding is a body of one octet, over and over.
type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}
