//go:build !race

package nethttp

const race = false
