// What libgateway's package for Go is measured beside: net/http, and net/http/fcgi behind nginx, with the
// answers of benches/bench.c.
//
//	peer [-protocol http|fastcgi] ADDRESS    127.0.0.1:8000, or unix:PATH
//
//	/       hello
//	/post   the same, after the body
//	/big    100 KiB
//
// GOMAXPROCS is as the environment says.
package main

import (
	"bytes"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/fcgi"
	"strconv"
	"strings"
)

var (
	hello = []byte("hello, world\n")
	big   = bytes.Repeat([]byte("x"), 102_400)
)

// Routed by hand: what is measured is the server.
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
	protocol := flag.String("protocol", "http", "http or fastcgi")
	flag.Parse()
	if flag.NArg() != 1 {
		log.Fatal("usage: peer [-protocol http|fastcgi] ADDRESS")
	}
	network, address := "tcp", flag.Arg(0)
	if path, isPath := strings.CutPrefix(address, "unix:"); isPath {
		network, address = "unix", path
	}
	listener, err := net.Listen(network, address)
	if err != nil {
		log.Fatal(err)
	}
	switch handler := http.HandlerFunc(answer); *protocol {
	case "http":
		log.Fatal(http.Serve(listener, handler))
	case "fastcgi":
		log.Fatal(fcgi.Serve(listener, handler))
	default:
		log.Fatalf("-protocol %s: http or fastcgi", *protocol)
	}
}
