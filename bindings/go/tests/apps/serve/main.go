// serve chi|mux FILES BACKEND ADDRESS...: one of the applications, from libgateway's workers.
package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"libgateway.org/go/gateway"
	"libgateway.org/go/gateway/tests/apps/chiapp"
	"libgateway.org/go/gateway/tests/apps/muxapp"
)

func main() {
	var app func(files, backend string) http.Handler
	switch os.Args[1] {
	case "chi":
		app = chiapp.New
	case "mux":
		app = muxapp.New
	}
	if err := gateway.ListenAndServe(strings.Join(os.Args[4:], ","), app(os.Args[2], os.Args[3])); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
