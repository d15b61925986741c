//go:build !go1.22

package gateway

// An older Go stops here, with these words.
var _ = libgateway_needs_Go_1_22_or_newer
