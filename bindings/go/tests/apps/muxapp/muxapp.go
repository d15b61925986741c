// Package muxapp is the application with gorilla/mux, and what gorilla brings.
package muxapp

import (
	"io"
	"log"
	"net/http"
	"time"

	"github.com/gorilla/handlers"
	"github.com/gorilla/mux"

	"libgateway.org/go/gateway/tests/apps/rest"
)

// New serves files of a directory and passes /proxy/ on to a backend.
func New(files, backend string) http.Handler {
	app := rest.New(func(r *http.Request) string { return mux.Vars(r)["id"] })
	r := mux.NewRouter()
	r.Use(handlers.CORS(handlers.AllowedOrigins([]string{"https://www.example.org"})))
	r.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "nothing at "+r.URL.Path, 404)
	})

	articles := r.PathPrefix("/articles").Subrouter()
	articles.Use(handlers.CompressHandler)
	articles.HandleFunc("/", app.List).Methods("GET", "HEAD", "OPTIONS")
	articles.Handle("/", handlers.ContentTypeHandler(http.HandlerFunc(app.Create), "application/json")).Methods("POST")
	articles.HandleFunc("/{id}", app.One).Methods("GET", "HEAD", "PUT", "PATCH", "DELETE")
	r.HandleFunc("/admin", func(w http.ResponseWriter, r *http.Request) {
		if name, password, ok := r.BasicAuth(); !ok || name != "root" || password != "secret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="admin"`)
			w.WriteHeader(401)
			return
		}
		w.Write([]byte("in charge\n"))
	})
	r.Handle("/slow", http.TimeoutHandler(http.HandlerFunc(rest.Slow), 20*time.Millisecond, "too slow\n"))
	r.PathPrefix("/echo").HandlerFunc(rest.Echo)
	r.HandleFunc("/form", rest.Form).Methods("POST")
	r.HandleFunc("/stream", rest.Stream)
	r.HandleFunc("/cookies", rest.Cookies)
	r.HandleFunc("/panic", rest.Panic)
	r.HandleFunc("/hints", rest.Hints)
	r.Handle("/large", handlers.CompressHandler(http.HandlerFunc(rest.Large)))
	r.HandleFunc("/ws", rest.WebSocket)
	r.Handle("/old", http.RedirectHandler("/articles/?q=a", http.StatusMovedPermanently))
	r.HandleFunc("/ping", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte(".")) })
	r.PathPrefix("/files/").Handler(http.StripPrefix("/files", http.FileServer(http.Dir(files))))
	r.PathPrefix("/proxy/").Handler(http.StripPrefix("/proxy", rest.Backwards(backend)))

	quiet := handlers.RecoveryLogger(log.New(io.Discard, "", 0))
	return handlers.CombinedLoggingHandler(io.Discard, handlers.RecoveryHandler(quiet)(handlers.ProxyHeaders(r)))
}
