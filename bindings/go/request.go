package gateway

// #include "shim.h"
import "C"
import (
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"strings"
	"unsafe"
)

// newRequest is what net/http would make of it; behind a web server, what net/http/fcgi would.
func newRequest(x *exchange, taken *C.gwgo_request) *http.Request {
	env := taken.env
	pairs := unsafe.Slice(env.headers, int(env.header_count))
	// One piece of memory for all strings.
	size := int(env.request_method.len + env.request_uri.len + env.server_protocol.len +
		env.remote_addr.len + env.remote_port.len + 3 + C.size_t(taken.body_len))
	for i := range pairs {
		size += int(pairs[i].name.len + pairs[i].value.len)
	}
	texts := make(texts, 0, size)

	r := http.Request{
		Method:     methodOf(&texts, env.request_method),
		RequestURI: texts.copy(env.request_uri),
		ProtoMajor: 1, ProtoMinor: 1,
		Proto:         "HTTP/1.1",
		ContentLength: int64(env.content_length),
		Body:          http.NoBody,
		Header:        make(http.Header, len(pairs)),
		URL:           &x.url,
	}
	if proto := octets(env.server_protocol); string(proto) != r.Proto {
		r.Proto = texts.copy(env.server_protocol)
		if major, minor, ok := http.ParseHTTPVersion(r.Proto); ok {
			r.ProtoMajor, r.ProtoMinor = major, minor
		}
	}
	r.RemoteAddr = texts.address(env.remote_addr, env.remote_port)
	r.Close = r.ProtoMinor == 0 // unless the client says more
	fields(&r, &texts, pairs)
	locate(&r, env, &x.url)
	if env.flags&C.GW_ENV_HAS_BODY == 0 || r.ContentLength == 0 {
		r.ContentLength = 0
	} else {
		if r.ContentLength < 0 && r.TransferEncoding == nil {
			// FastCGI without CONTENT_LENGTH: there may be a body, and mostly there is none.
			r.ContentLength = 0
		}
		if taken.body_rc != C.GW_AGAIN || taken.body_len > 0 {
			start := len(texts)
			texts = append(texts, unsafe.Slice((*byte)(unsafe.Pointer(taken.body)), int(taken.body_len))...)
			x.body.here = texts[start:]
			x.body.whole = taken.body_rc == C.GW_EOF
		}
		r.Body = &x.body
	}
	if string(octets(env.url_scheme)) == "https" {
		r.TLS = &tls.ConnectionState{HandshakeComplete: true}
	}
	return r.WithContext(&x.ctx)
}

// fields fills the header as net/http does: canonical names, Host apart.
func fields(r *http.Request, texts *texts, pairs []C.gw_pair) {
	values := make([]string, len(pairs))
	for i := range pairs {
		name := octets(pairs[i].name)
		key, ok := commonHeaders[string(name)]
		if !ok {
			key = http.CanonicalHeaderKey(texts.copy(pairs[i].name))
		}
		value := texts.copy(pairs[i].value)
		switch key {
		case "Host":
			if r.Host == "" {
				r.Host = value
			}
			continue
		case "Transfer-Encoding":
			r.TransferEncoding = []string{"chunked"}
			continue
		case "Trailer":
			announce(r, value)
			continue
		}
		if before, again := r.Header[key]; again {
			r.Header[key] = append(before, value)
			continue
		}
		values[i] = value
		r.Header[key] = values[i : i+1 : i+1]
	}
	if options := r.Header["Connection"]; len(options) > 0 {
		r.Close = has(options, "close") || r.Close && !has(options, "keep-alive")
	}
	if pragma := r.Header["Pragma"]; len(pragma) > 0 && pragma[0] == "no-cache" {
		if _, ok := r.Header["Cache-Control"]; !ok {
			r.Header["Cache-Control"] = []string{"no-cache"}
		}
	}
}

// has says whether a token is in one of these lists.
func has(lists []string, token string) bool {
	for _, list := range lists {
		for _, it := range strings.Split(list, ",") {
			if strings.EqualFold(strings.Trim(it, " \t"), token) {
				return true
			}
		}
	}
	return false
}

// announce notes the trailers that a client has announced: their values are not kept.
func announce(r *http.Request, value string) {
	for _, name := range strings.Split(value, ",") {
		if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); name != "" {
			if r.Trailer == nil {
				r.Trailer = make(http.Header)
			}
			r.Trailer[name] = nil
		}
	}
}

// locate sets the URL: from the request line, or, behind a web server that does not pass that on, from
// what CGI has of it.
func locate(r *http.Request, env *C.gw_environ, to *url.URL) {
	if r.RequestURI == "" {
		u := url.URL{Path: string(octets(env.script_name)) + string(octets(env.path_info)),
			RawQuery: string(octets(env.query_string))}
		r.RequestURI = u.RequestURI()
	}
	if path, query, ok := plain(r.RequestURI); ok {
		to.Path, to.RawQuery = path, query
	} else if r.Method == http.MethodConnect && r.RequestURI[0] != '/' {
		to.Host, r.Host = r.RequestURI, r.RequestURI
	} else if u, err := url.ParseRequestURI(r.RequestURI); err == nil {
		*to = *u
		if u.Host != "" && r.Method != http.MethodConnect {
			// RFC 9112 3.2.2: the host of an absolute form comes before the field.
			r.Host = u.Host
		}
	} else {
		to.Path, to.RawQuery = string(octets(env.script_name))+string(octets(env.path_info)), string(octets(env.query_string))
		to.RawPath = ""
	}
	if env.var_count > 0 && to.Host == "" {
		// As net/http/fcgi has it.
		to.Host, to.Scheme = r.Host, string(octets(env.url_scheme))
	}
}

// plain splits what needs no parser.
func plain(uri string) (path, query string, ok bool) {
	if uri == "" || uri[0] != '/' {
		return "", "", false
	}
	for i := range len(uri) {
		switch c := uri[i]; {
		case c == '?' && i+1 < len(uri):
			return uri[:i], uri[i+1:], sound(uri[i+1:])
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '/', c == '-', c == '_', c == '.', c == '~':
		default:
			return "", "", false
		}
	}
	return uri, "", true
}

func sound(query string) bool {
	for i := range len(query) {
		if c := query[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return false
		}
	}
	return true
}

// texts is memory for strings; it has room for what was counted before.
type texts []byte

func (t *texts) copy(s C.gw_str) string {
	start := len(*t)
	*t = append(*t, octets(s)...)
	return t.since(start)
}

func (t *texts) since(start int) string {
	return unsafe.String(unsafe.SliceData((*t)[start:]), len(*t)-start)
}

// address is "host:port", as net.JoinHostPort has it, with a port of 0 where none is known, as in net/http/fcgi;
// "@" for a peer on a unix socket, as in net.
func (t *texts) address(host, port C.gw_str) string {
	h := octets(host)
	if port.len == 0 {
		if string(h) == "unix:" {
			return "@"
		}
		return net.JoinHostPort(string(h), "0")
	}
	start := len(*t)
	if strings.IndexByte(unsafe.String(unsafe.SliceData(h), len(h)), ':') >= 0 {
		return net.JoinHostPort(string(h), string(octets(port)))
	}
	*t = append(append(append(*t, h...), ':'), octets(port)...)
	return t.since(start)
}

func octets(s C.gw_str) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(s.data)), int(s.len))
}

func methodOf(t *texts, s C.gw_str) string {
	switch string(octets(s)) {
	case "GET":
		return "GET"
	case "POST":
		return "POST"
	case "HEAD":
		return "HEAD"
	}
	return t.copy(s)
}

// Names that need no memory, as they are written most.
var commonHeaders = func() map[string]string {
	all := make(map[string]string)
	for _, name := range strings.Fields(`Accept Accept-Encoding Accept-Language Authorization Cache-Control
		Connection Content-Length Content-Type Cookie Dnt Expect Host If-Modified-Since If-None-Match Origin
		Pragma Range Referer Sec-Fetch-Dest Sec-Fetch-Mode Sec-Fetch-Site Te Trailer Transfer-Encoding Upgrade
		Upgrade-Insecure-Requests User-Agent Via X-Forwarded-For X-Forwarded-Host X-Forwarded-Proto X-Real-Ip
		X-Request-Id X-Requested-With`) {
		all[name], all[strings.ToLower(name)], all[strings.ToUpper(name)] = name, name, name
	}
	return all
}()

// Variable is a CGI variable of a request that is being served, "REMOTE_USER" or "SSL_CLIENT_S_DN", which a
// web server in front has set; false: there is none, or r is not a request of this package.
func Variable(r *http.Request, name string) (string, bool) {
	x, _ := r.Context().Value(exchangeKey{}).(*exchange)
	if x == nil || name == "" {
		return "", false
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.over {
		return "", false
	}
	var value *C.char
	var size C.size_t
	data := (*C.char)(unsafe.Pointer(unsafe.StringData(name)))
	if C.gwgo_variable(C.uintptr_t(x.d), data, C.size_t(len(name)), &value, &size) != C.GW_OK {
		return "", false
	}
	return C.GoStringN(value, C.int(size)), true
}
