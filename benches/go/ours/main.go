// The answers of benches/bench.c, by the package for Go: as benches/peers/go has them by net/http.
//
//	ours [-protocol http|fastcgi|uwsgi] ADDRESS    127.0.0.1:8000, or unix:PATH
package main

import (
	"bytes"
	"flag"
	"io"
	"log"
	"net/http"
	"strconv"

	"libgateway.org/go/gateway"
)

var (
	hello = []byte("hello, world\n")
	big   = bytes.Repeat([]byte("x"), 102_400)
)

// The same as in benches/peers/go.
func answer(w http.ResponseWriter, r *http.Request) {
	body := hello
	switch r.URL.Path {
	case "/big":
		body = big
	case "/post":
		if _, err := io.ReadAll(r.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	w.Header().Set("Content-Type", "text/plain")
	// net/http says it by itself of a small one, and net/http/fcgi never: else it would be chunked.
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

func main() {
	log.SetFlags(0)
	protocol := flag.String("protocol", "http", "http, fastcgi or uwsgi")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: ours [-protocol http|fastcgi|uwsgi] ADDRESS")
	}
	address := flag.Arg(0)
	if *protocol != "http" {
		address = *protocol + "+" + address
	}
	// In this process, as what it is compared with.
	server := gateway.Server{Addr: address, Handler: http.HandlerFunc(answer)}
	log.Fatal(server.ListenAndServe())
}
