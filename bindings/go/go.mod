module libgateway.org/go/gateway

go 1.22
