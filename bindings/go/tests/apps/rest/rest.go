// Package rest has the handlers of a small REST application, for any router: articles in memory, and
// what else such applications do.  Nothing in it knows by whom it is served.
package rest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"
)

// An Article is what is stored.
type Article struct {
	ID    int      `json:"id"`
	Title string   `json:"title"`
	Body  string   `json:"body"`
	Tags  []string `json:"tags,omitempty"`
}

// App is the application; ID gives the router's variable {id} of a request.
type App struct {
	ID func(*http.Request) string

	mu       sync.Mutex
	last     int
	articles map[int]Article
}

// New has three articles.
func New(id func(*http.Request) string) *App {
	a := &App{ID: id, articles: map[int]Article{}}
	for _, title := range []string{"Häuser", "Trees & <Leaves>", "Water"} {
		a.last++
		a.articles[a.last] = Article{ID: a.last, Title: title, Body: strings.Repeat(title+" ", 50)}
	}
	return a
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(v)
}

func fail(w http.ResponseWriter, status int, format string, args ...any) {
	answer(w, status, map[string]string{"error": fmt.Sprintf(format, args...)})
}

// List gives the articles whose title has ?q= in it, ?limit= of them.
func (a *App) List(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	limit, err := strconv.Atoi(r.URL.Query().Get("limit"))
	if err != nil {
		limit = 100
	}
	found := []Article{}
	for _, article := range a.articles {
		if strings.Contains(article.Title, r.URL.Query().Get("q")) {
			found = append(found, article)
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].ID < found[j].ID })
	w.Header().Set("X-Total", strconv.Itoa(len(found)))
	answer(w, 200, found[:min(limit, len(found))])
}

// read takes an article of at most 4 KiB from the body.
func read(w http.ResponseWriter, r *http.Request) (article Article, ok bool) {
	err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&article)
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		fail(w, 413, "more than %d octets", large.Limit)
	case err != nil:
		fail(w, 400, "no article: %v", err)
	case article.Title == "":
		fail(w, 422, "an article needs a title")
	default:
		return article, true
	}
	return article, false
}

// Create stores an article, and says where.
func (a *App) Create(w http.ResponseWriter, r *http.Request) {
	article, ok := read(w, r)
	if !ok {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last++
	article.ID = a.last
	a.articles[a.last] = article
	w.Header().Set("Location", fmt.Sprintf("/articles/%d", a.last))
	answer(w, 201, article)
}

// One gives, replaces and deletes an article.
func (a *App) One(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.Atoi(a.ID(r))
	if err != nil {
		fail(w, 400, "%q is not a number", a.ID(r))
		return
	}
	a.mu.Lock()
	old, there := a.articles[id]
	a.mu.Unlock()
	if !there {
		fail(w, 404, "no article %d", id)
		return
	}
	etag := fmt.Sprintf(`"%d-%d"`, id, len(old.Body))
	switch r.Method {
	case "GET", "HEAD":
		w.Header().Set("ETag", etag)
		if r.Header.Get("If-None-Match") == etag {
			w.WriteHeader(304)
			return
		}
		answer(w, 200, old)
	case "PUT", "PATCH":
		article, ok := read(w, r)
		if !ok {
			return
		}
		if match := r.Header.Get("If-Match"); match != "" && match != etag {
			fail(w, 412, "it is %s", etag)
			return
		}
		article.ID = id
		a.mu.Lock()
		a.articles[id] = article
		a.mu.Unlock()
		answer(w, 200, article)
	case "DELETE":
		a.mu.Lock()
		delete(a.articles, id)
		a.mu.Unlock()
		w.WriteHeader(204)
	}
}

// Echo gives back what a request is made of.
func Echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	header := r.Header.Clone()
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Real-Ip", "Connection"} {
		header.Del(name) // fronts add them
	}
	answer(w, 200, map[string]any{
		"method": r.Method, "path": r.URL.Path, "raw path": r.URL.RawPath, "query": r.URL.RawQuery,
		"uri": r.RequestURI, "host": r.Host, "proto": r.Proto, "header": header,
		"length": r.ContentLength, "chunked": r.TransferEncoding, "body": string(body), "error": fmt.Sprint(err),
	})
}

// Form gives the values of a form, and the names and sizes of its files.
func Form(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseMultipartForm(1 << 20); err != nil && err != http.ErrNotMultipart {
		fail(w, 400, "%v", err)
		return
	}
	files := map[string]int64{}
	if r.MultipartForm != nil {
		for _, all := range r.MultipartForm.File {
			for _, file := range all {
				files[file.Filename] = file.Size
			}
		}
	}
	answer(w, 200, map[string]any{"form": r.Form, "post": r.PostForm, "files": files})
}

// Stream sends five lines, each when it is there.
func Stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range 5 {
		fmt.Fprintf(w, "data: %d\n\n", i)
		if err := http.NewResponseController(w).Flush(); err != nil {
			panic(err)
		}
	}
}

// Slow waits for the request's context: for a middleware that sets a time limit.
func Slow(w http.ResponseWriter, r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(time.Minute):
	}
}

// Cookies sets two, and says which came.
func Cookies(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: "session", Value: "a b", HttpOnly: true, Path: "/"})
	http.SetCookie(w, &http.Cookie{Name: "theme", Value: "dark", MaxAge: 60})
	for _, cookie := range r.Cookies() {
		fmt.Fprintf(w, "%s=%s\n", cookie.Name, cookie.Value)
	}
}

// Panic is a fault of the application.
func Panic(http.ResponseWriter, *http.Request) { panic("the application is at fault") }

// Hints sends a 103 before its answer.
func Hints(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Link", "</style.css>; rel=preload")
	w.WriteHeader(103)
	fmt.Fprint(w, "styled\n")
}

// Large is a mebibyte, which it does not say beforehand.
func Large(w http.ResponseWriter, r *http.Request) {
	line := []byte(strings.Repeat("0123456789abcdef", 64))
	for range 1024 {
		w.Write(line)
	}
}

// WebSocket takes the connection away from the server, where that can be done.
func WebSocket(w http.ResponseWriter, r *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if errors.Is(err, http.ErrNotSupported) {
		fail(w, 501, "no WebSocket here: %v", err)
		return
	}
	if err != nil {
		fail(w, 500, "%v", err)
		return
	}
	conn.Close()
}

// Backwards is a reverse proxy to the same host's /echo, by way of a server that Backend names.
func Backwards(backend string) http.Handler {
	to, err := url.Parse(backend)
	if err != nil {
		panic(err)
	}
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			r.Out.Host = r.In.Host
		},
		FlushInterval: -1,
	}
}
