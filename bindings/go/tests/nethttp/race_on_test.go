//go:build race

package nethttp

// race: what is built is built as this test is.
const race = true
