module libgateway.org/go/gateway/tests

go 1.22

require (
	github.com/go-chi/chi/v5 v5.2.1
	github.com/go-chi/cors v1.2.1
	github.com/gorilla/handlers v1.5.2
	github.com/gorilla/mux v1.8.1
)

require (
	github.com/felixge/httpsnoop v1.0.3 // indirect
	libgateway.org/go/gateway v0.0.0
)

replace libgateway.org/go/gateway => ..
