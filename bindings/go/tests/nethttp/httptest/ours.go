package httptest

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"libgateway.org/go/gateway"
)

// startOurs serves with libgateway, in this process.
func startOurs(config *http.Server, l net.Listener) (stop func()) {
	if config.ConnState != nil || config.ConnContext != nil || config.BaseContext != nil {
		panic("connections are the library's: it has no ConnState, ConnContext or BaseContext")
	}
	if config.DisableGeneralOptionsHandler {
		panic("OPTIONS * is the handler's")
	}
	options := []gateway.Option{gateway.Logger(slog.New(&lines{config.ErrorLog}))}
	set := func(name string, d time.Duration) {
		if d > 0 {
			options = append(options, gateway.Set(name, fmt.Sprintf("%dms", d.Milliseconds())))
		}
	}
	set("header_timeout", config.ReadTimeout)
	set("header_timeout", config.ReadHeaderTimeout)
	set("body_timeout", config.ReadTimeout)
	set("write_timeout", config.WriteTimeout)
	set("keepalive", config.IdleTimeout)
	// As large as net/http's heads may be.
	max := config.MaxHeaderBytes
	if max == 0 {
		max = http.DefaultMaxHeaderBytes
	}
	for _, name := range []string{"limit_request_line", "limit_request_field_size", "limit_request_head"} {
		options = append(options, gateway.Set(name, strconv.Itoa(max)))
	}

	s := &gateway.Server{Handler: counted(config.Handler), Options: options}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(l) }()
	// Whoever stops the http.Server means ours.
	config.RegisterOnShutdown(func() { s.Shutdown(context.Background()) })
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			log.Printf("httptest: requests are still there after 5 seconds")
			s.Close()
		}
		if err := <-ended; err != http.ErrServerClosed {
			log.Printf("httptest: Serve: %v", err)
		}
	}
}

// lines are a log as net/http writes it: what happened, and the stack of what panicked.
type lines struct{ to *log.Logger }

func (l *lines) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

func (l *lines) Handle(_ context.Context, r slog.Record) error {
	text := r.Message
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "stack" {
			text += "\n" + a.Value.String()
		}
		return true
	})
	if l.to == nil {
		log.Print(text)
	} else {
		l.to.Print(text)
	}
	return nil
}

func (l *lines) WithAttrs([]slog.Attr) slog.Handler { return l }
func (l *lines) WithGroup(string) slog.Handler      { return l }
