package tests

import (
	"bytes"
	"fmt"
	"mime/multipart"
	"strings"
)

// A request of the table; those of one table are sent in this order, since what one stores the next gets.
type request struct {
	name   string
	method string
	target string
	header string // lines "Name: value"
	body   string
	direct bool // not through nginx, which would take it for its own, or change it
}

// requests are for both routers: collection is where articles are listed.
func requests(collection string) []request {
	form, boundary := multipartForm()
	const json = "Content-Type: application/json"
	article := `{"title":"New","body":"text","tags":["a","b"]}`
	one := strings.TrimSuffix(collection, "/")
	return []request{
		{name: "list", target: collection},
		{name: "list, found", target: collection + "?q=e&limit=1"},
		{name: "list, umlaut", target: collection + "?q=H%C3%A4us"},
		{name: "list, packed", target: collection, header: "Accept-Encoding: gzip"},
		{name: "list, head", method: "HEAD", target: collection},
		{name: "the other slash", target: one + "x/"},
		{name: "create", method: "POST", target: collection, header: json, body: article},
		{name: "create, not JSON", method: "POST", target: collection, header: json, body: `{"title":`},
		{name: "create, no title", method: "POST", target: collection, header: json, body: `{}`},
		{name: "create, empty", method: "POST", target: collection, header: json},
		{name: "create, another type", method: "POST", target: collection, header: "Content-Type: text/csv", body: "a,b"},
		{name: "create, too large", method: "POST", target: collection, header: json,
			body: `{"title":"` + strings.Repeat("x", 10000) + `"}`},
		{name: "read", target: one + "/1"},
		{name: "read, head", method: "HEAD", target: one + "/1"},
		{name: "read what was created", target: one + "/4"},
		{name: "read, unchanged", target: one + "/4", header: `If-None-Match: "4-4"`},
		{name: "read, none", target: one + "/99"},
		{name: "read, no number", target: one + "/first"},
		{name: "read, packed", target: one + "/2", header: "Accept-Encoding: gzip, deflate"},
		{name: "replace", method: "PUT", target: one + "/4", header: json, body: `{"title":"Newer"}`},
		{name: "replace, condition", method: "PUT", target: one + "/4", header: json + "\nIf-Match: \"9-9\"",
			body: `{"title":"Newest"}`},
		{name: "change", method: "PATCH", target: one + "/1", header: json, body: `{"title":"Changed","body":"1"}`},
		{name: "read what was replaced", target: one + "/4"},
		{name: "delete", method: "DELETE", target: one + "/4"},
		{name: "delete again", method: "DELETE", target: one + "/4"},
		{name: "method", method: "POST", target: one + "/1"},
		{name: "method that nobody knows", method: "BREW", target: one + "/1"},
		{name: "nothing there", target: "/nothing/here?x=1"},
		{name: "ping", target: "/ping"},
		{name: "admin", target: "/admin"},
		{name: "admin, wrong", target: "/admin", header: "Authorization: Basic cm9vdDp3cm9uZw=="},
		{name: "admin, right", target: "/admin", header: "Authorization: Basic cm9vdDpzZWNyZXQ="},
		{name: "slow", target: "/slow"},
		{name: "echo", target: "/echo", header: "X-One: 1\nX-Two: a, b\nX-Two: c\nAccept: */*"},
		{name: "echo, query", target: "/echo?a=1&a=2&b=%2F+%26;c&d"},
		{name: "echo, escapes", target: "/echo/a%2Fb%20c/%C3%A9?x"},
		{name: "echo, dots", target: "/echo/a/%2e%2e/b", direct: true},
		{name: "echo, slashes", target: "/echo//a", direct: true},
		{name: "echo, post", method: "POST", target: "/echo", header: "Content-Type: text/plain", body: "some text"},
		{name: "echo, post nothing", method: "POST", target: "/echo"},
		{name: "echo, octets", method: "PUT", target: "/echo", body: "\x00\x01\xfe\xff\r\n"},
		{name: "echo, large", method: "POST", target: "/echo", body: strings.Repeat("0123456789", 30000)},
		{name: "echo, chunked", method: "POST", target: "/echo", header: "Transfer-Encoding: chunked",
			body: strings.Repeat("chunk", 1000), direct: true},
		{name: "echo, expecting", method: "POST", target: "/echo", header: "Expect: 100-continue", body: "now", direct: true},
		{name: "echo, options", method: "OPTIONS", target: "/echo"},
		{name: "echo, delete with a body", method: "DELETE", target: "/echo", body: "why"},
		{name: "form", method: "POST", target: "/form?a=0", header: "Content-Type: application/x-www-form-urlencoded",
			body: "a=1&b=two+words&c=%C3%BC"},
		{name: "form, files", method: "POST", target: "/form", header: "Content-Type: multipart/form-data; boundary=" + boundary,
			body: form},
		{name: "form, cut", method: "POST", target: "/form", header: "Content-Type: multipart/form-data; boundary=" + boundary,
			body: form[:len(form)/2]},
		{name: "form by get", target: "/form"},
		{name: "stream", target: "/stream"},
		{name: "cookies", target: "/cookies", header: "Cookie: a=1; b=\"2\"; c"},
		{name: "panic", target: "/panic"},
		{name: "after the panic", target: "/ping"},
		{name: "large", target: "/large"},
		{name: "large, packed", target: "/large", header: "Accept-Encoding: gzip"},
		{name: "large, head", method: "HEAD", target: "/large"},
		{name: "hints", target: "/hints", direct: true},
		{name: "redirect", target: "/old"},
		{name: "redirect of a post", method: "POST", target: "/old", body: "x"},
		{name: "cross-origin", target: "/cookies", header: "Origin: https://www.example.org"},
		{name: "cross-origin, foreign", target: "/cookies", header: "Origin: https://www.example.com"},
		{name: "cross-origin, asked before", method: "OPTIONS", target: one + "/1",
			header: "Origin: https://www.example.org\nAccess-Control-Request-Method: PUT"},
		{name: "file", target: "/files/page.html"},
		{name: "file, head", method: "HEAD", target: "/files/page.html"},
		{name: "file, range", target: "/files/numbers", header: "Range: bytes=100-199"},
		{name: "file, last octets", target: "/files/numbers", header: "Range: bytes=-10"},
		{name: "file, beyond", target: "/files/numbers", header: "Range: bytes=10000000-"},
		{name: "file, whole", target: "/files/numbers"},
		{name: "file, unchanged", target: "/files/page.html", header: "If-Modified-Since: Mon, 01 Jan 2035 00:00:00 GMT"},
		{name: "file, since", target: "/files/page.html", header: "If-Unmodified-Since: Mon, 01 Jan 1990 00:00:00 GMT"},
		{name: "file, none", target: "/files/none"},
		{name: "file, outside", target: "/files/..%2f..%2fetc/passwd", direct: true},
		{name: "directory", target: "/files/"},
		{name: "directory without a slash", target: "/files/deep"},
		{name: "directory with an index", target: "/files/deep/"},
		{name: "index is its directory", target: "/files/deep/index.html"},
		{name: "proxy", target: "/proxy/hello?x=1", header: "X-One: 1"},
		{name: "proxy, post", method: "POST", target: "/proxy/upload", body: strings.Repeat("up", 50000)},
		{name: "proxy, stream", target: "/proxy/stream"},
		{name: "proxy, none", target: "/proxy/none"},
	}
}

func multipartForm() (body, boundary string) {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	w.SetBoundary("a-boundary-of-our-own")
	w.WriteField("name", "Käte")
	for i, size := range []int{0, 10, 100000} {
		file, _ := w.CreateFormFile("file", fmt.Sprintf("file%d.txt", i))
		file.Write(bytes.Repeat([]byte("."), size))
	}
	w.Close()
	return b.String(), w.Boundary()
}
