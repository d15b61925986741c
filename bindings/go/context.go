package gateway

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"time"
)

type exchangeKey struct{}

// requestContext is the context of a request; it is made of more when somebody wants to be told.
type requestContext struct {
	x     *exchange
	mu    sync.Mutex
	ended bool
	inner context.Context
	stop  context.CancelFunc
}

func (c *requestContext) Deadline() (time.Time, bool) { return time.Time{}, false }

func (c *requestContext) Done() <-chan struct{} { return c.full().Done() }

func (c *requestContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return context.Canceled
	}
	return nil
}

func (c *requestContext) Value(key any) any {
	switch key {
	case http.ServerContextKey:
		return c.x.about.server
	case http.LocalAddrContextKey:
		return c.x.about.local
	case exchangeKey{}:
		return c.x
	}
	c.mu.Lock()
	inner := c.inner
	c.mu.Unlock()
	if inner == nil {
		return nil
	}
	// What the package context asks, to be told without a goroutine.
	return inner.Value(key)
}

func (c *requestContext) full() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.inner == nil {
		c.inner, c.stop = context.WithCancel(context.Background())
		if c.ended {
			c.stop()
		}
	}
	return c.inner
}

// cancel ends it: the client has left, or the handler has returned.
func (c *requestContext) cancel() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.stop != nil {
		c.stop()
	}
}

func (c *requestContext) String() string {
	return "gateway.Request " + strconv.Quote(c.x.request.RequestURI)
}
