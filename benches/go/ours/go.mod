module bench

go 1.22

require libgateway.org/go/gateway v0.0.0

replace libgateway.org/go/gateway => ../../../bindings/go
