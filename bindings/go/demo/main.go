// The demo of every binding: what examples/demo.c answers, octet by octet.
//
//	go run ./demo 127.0.0.1:8000 go.mod
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"time"

	"libgateway.org/go/gateway"
)

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: demo address file")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/environ", environ)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/count", count)
	mux.HandleFunc("/later", later)
	mux.HandleFunc("/headers", headers)
	mux.HandleFunc("/file", func(w http.ResponseWriter, _ *http.Request) { file(w, os.Args[2]) })
	mux.HandleFunc("/fail", func(http.ResponseWriter, *http.Request) { panic("as it was asked to") })
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) { plain(w, "hello, world\n") })

	// A mux redirects paths like //a; the demo does not.
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h, pattern := mux.Handler(r); pattern == r.URL.Path || pattern == "/{$}" && r.URL.Path == "/" {
			h.ServeHTTP(w, r)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusNotFound)
		io.WriteString(w, "not found\n")
	})
	err := gateway.ListenAndServe(os.Args[1], handler, gateway.Workers(2),
		// A body is whole before its handler is called.
		gateway.Set("request_buffering", "1"))
	if err != http.ErrServerClosed {
		log.Fatal(err)
	}
}

func plain(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain")
	io.WriteString(w, text)
}

func environ(w http.ResponseWriter, r *http.Request) {
	var text strings.Builder
	for _, name := range []string{"REQUEST_METHOD", "SCRIPT_NAME", "PATH_INFO", "QUERY_STRING", "CONTENT_TYPE",
		"CONTENT_LENGTH", "SERVER_PROTOCOL", "REMOTE_ADDR", "HTTP_HOST", "HTTP_X_DEMO"} {
		value, _ := gateway.Variable(r, name)
		fmt.Fprintf(&text, "%s=%s\n", name, value)
	}
	plain(w, text.String())
}

func echo(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(err)
	}
	kind := r.Header.Get("Content-Type")
	if kind == "" {
		kind = "application/octet-stream"
	}
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.Header().Set("Content-Type", kind)
	w.Write(body)
}

func count(w http.ResponseWriter, _ *http.Request) {
	for left := 10; left > 0; left-- {
		plain(w, fmt.Sprintln(left))
		w.(http.Flusher).Flush()
	}
}

func later(w http.ResponseWriter, _ *http.Request) {
	time.Sleep(10 * time.Millisecond)
	plain(w, "at last\n")
}

func headers(w http.ResponseWriter, _ *http.Request) {
	w.Header().Add("Set-Cookie", "a=1; Path=/")
	w.Header().Add("Set-Cookie", "b=2; Path=/")
	w.Header().Set("X-Demo", "yes")
	w.WriteHeader(http.StatusNoContent)
}

func file(w http.ResponseWriter, path string) {
	f, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	about, err := f.Stat()
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Length", fmt.Sprint(about.Size()))
	io.Copy(w, f)
}
