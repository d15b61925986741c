//go:build !race

package tests

const race = false
