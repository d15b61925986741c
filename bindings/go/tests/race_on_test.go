//go:build race

package tests

// race: what is built is built as this test is.
const race = true
