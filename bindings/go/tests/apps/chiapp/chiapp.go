// Package chiapp is the application with chi, and what chi brings.
package chiapp

import (
	"io"
	"log"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/go-chi/chi/v5/middleware"
	"github.com/go-chi/cors"

	"libgateway.org/go/gateway/tests/apps/rest"
)

// New serves files of a directory and passes /proxy/ on to a backend.
func New(files, backend string) http.Handler {
	app := rest.New(func(r *http.Request) string { return chi.URLParam(r, "id") })
	r := chi.NewRouter()
	r.Use(middleware.RequestID)
	r.Use(middleware.RealIP)
	r.Use(middleware.RequestLogger(&middleware.DefaultLogFormatter{Logger: log.New(io.Discard, "", 0)}))
	r.Use(middleware.Recoverer)
	r.Use(middleware.Heartbeat("/ping"))
	r.Use(cors.Handler(cors.Options{
		AllowedOrigins: []string{"https://*.example.org"},
		AllowedMethods: []string{"GET", "POST", "PUT"},
		ExposedHeaders: []string{"X-Total"},
		MaxAge:         300,
	}))

	r.Route("/articles", func(r chi.Router) {
		r.Use(middleware.Compress(5))
		r.Get("/", app.List)
		r.With(middleware.AllowContentType("application/json")).Post("/", app.Create)
		r.Route("/{id}", func(r chi.Router) {
			r.Use(middleware.GetHead)
			for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
				r.MethodFunc(method, "/", app.One)
			}
		})
	})
	r.Mount("/admin", chi.Chain(
		middleware.BasicAuth("admin", map[string]string{"root": "secret"}), middleware.NoCache,
	).HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("in charge\n")) }))
	r.With(middleware.Timeout(20*time.Millisecond)).Get("/slow", rest.Slow)
	r.HandleFunc("/echo", rest.Echo)
	r.HandleFunc("/echo/*", rest.Echo)
	r.Post("/form", rest.Form)
	r.Get("/stream", rest.Stream)
	r.Get("/cookies", rest.Cookies)
	r.Get("/panic", rest.Panic)
	r.Get("/hints", rest.Hints)
	r.With(middleware.Compress(1)).Get("/large", rest.Large)
	r.Get("/ws", rest.WebSocket)
	r.Get("/old", http.RedirectHandler("/articles?q=a", http.StatusMovedPermanently).ServeHTTP)
	r.Handle("/files/*", http.StripPrefix("/files", http.FileServer(http.Dir(files))))
	r.Handle("/proxy/*", http.StripPrefix("/proxy", rest.Backwards(backend)))
	r.NotFound(func(w http.ResponseWriter, r *http.Request) { http.Error(w, "nothing at "+r.URL.Path, 404) })
	return r
}
