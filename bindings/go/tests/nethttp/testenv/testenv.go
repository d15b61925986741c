// Package testenv has what net/http's tests ask of the standard library's internal/testenv.
package testenv

import "testing"

// Builder is the name of the machine that tests Go itself; here there is none.
func Builder() string { return "" }

// SkipFlaky is called where Go's own issue says that a test cannot hold.
func SkipFlaky(t testing.TB, issue int) {
	t.Helper()
	t.Skipf("https://go.dev/issue/%d", issue)
}
