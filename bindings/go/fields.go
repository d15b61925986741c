package gateway

import (
	"net/http"
	"slices"
	"strings"
)

func bodyAllowed(status int) bool {
	return status >= 200 && status != http.StatusNoContent && status != http.StatusNotModified
}

// appendFields writes a header as lines, sorted by name as net/http does.  What is about the connection
// is the library's business.
func appendFields(to []byte, header http.Header) []byte {
	var few [16]string
	names := few[:0]
	for name := range header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch http.CanonicalHeaderKey(name) {
		case "Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
			"Transfer-Encoding", "Upgrade":
			continue
		}
		if !isToken(name) {
			continue
		}
		for _, value := range header[name] {
			to = appendField(to, name, value)
		}
	}
	return to
}

func appendField(to []byte, name, value string) []byte {
	to = append(append(to, name...), ": "...)
	start := len(to)
	to = append(to, strings.Trim(value, " \t\r\n")...)
	for i, c := range to[start:] {
		if c < ' ' && c != '\t' || c == 0x7f {
			to[start+i] = ' ' // the library refuses it, and with it the answer
		}
	}
	return append(to, "\r\n"...)
}

// isToken is RFC 9110 5.6.2.
func isToken(name string) bool {
	for i := range len(name) {
		c := name[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' {
			continue
		}
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\"(),/:;<=>?@[\\]{}", c) >= 0 {
			return false
		}
	}
	return name != ""
}
