package tests

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"libgateway.org/go/gateway/tests/apps/chiapp"
	"libgateway.org/go/gateway/tests/apps/muxapp"
	"libgateway.org/go/gateway/tests/apps/rest"
)

// apps are the same application with two routers.
var apps = []struct {
	name       string
	collection string
	new        func(files, backend string) http.Handler
}{
	{"chi", "/articles", chiapp.New},
	{"mux", "/articles/", muxapp.New},
}

// files has a page, a file of 100,000 octets, and a directory with an index.
func files(t *testing.T) string {
	dir := t.TempDir()
	numbers := strings.Repeat("0123456789", 10000)
	for name, text := range map[string]string{
		"page.html": "<html>a page</html>\n", "numbers": numbers, "deep/index.html": "the index\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// backend is what /proxy/ asks: net/http's own server.
func backend(t *testing.T) string {
	mux := http.NewServeMux()
	mux.HandleFunc("/stream", rest.Stream)
	mux.HandleFunc("/none", http.NotFound)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s %q %d\n", r.Method, r.Host, r.URL, r.Header["X-One"], len(body))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s.URL
}

// hop are what servers and fronts add for the connection, or of their own.
var hop = []string{"Date", "Server", "Connection", "Keep-Alive"}

// compare asks the program and net/http the same; through is the name of a front in between.
func compare(t *testing.T, through, ours, theirs string, table []request) {
	tr := newTransport(t)
	for _, r := range table {
		if r.direct && through != "" {
			continue
		}
		t.Run(strings.ReplaceAll(r.name, "/", "|"), func(t *testing.T) {
			want, got := ask(t, tr, theirs, r), ask(t, tr, ours, r)
			for _, a := range []*Answer{&want, &got} {
				for _, name := range hop {
					a.Header.Del(name)
				}
				if through != "" {
					// How a body is delimited is the front's business, and hints do not pass.
					a.Length, a.Coding, a.Hints = 0, nil, nil
					a.Header.Del("Content-Length")
					a.Header.Del("X-Accel-Expires") // nginx takes it as meant for it
					a.Proto = ""
				}
				a.Body = told(a.Body)
				slices.Sort(a.Header["Allow"]) // chi's have no order
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s %s\n got %+v\nwant %+v", r.method, r.target, short(got), short(want))
			}
		})
	}
}

// told takes out of an echo what a front says of its own.
func told(body string) string {
	body = strings.Replace(body, `"proto":"HTTP/1.0"`, `"proto":"HTTP/1.1"`, 1)
	// SCGI always says how much there is.
	return strings.Replace(body, `"Content-Length":["0"],`, "", 1)
}

func short(a Answer) Answer {
	if len(a.Body) > 1000 {
		a.Body = fmt.Sprintf("%s... (%d octets)", a.Body[:1000], len(a.Body))
	}
	return a
}

// The applications answer as they do with net/http.
func TestApplications(t *testing.T) {
	program := build(t, "serve")
	for _, app := range apps {
		t.Run(app.name, func(t *testing.T) {
			dir, back := files(t), backend(t)
			theirs := httptest.NewServer(app.new(dir, back))
			defer theirs.Close()
			ours := freeAddresses(t, 1)[0]
			p := start(t, nil, program, app.name, dir, back, ours)
			p.listening(ours)
			table := requests(app.collection)
			if len(table) < 60 {
				t.Errorf("%d requests", len(table))
			}
			compare(t, "", ours, theirs.Listener.Addr().String(), table)
		})
	}
}

// nginx starts the real one with examples/fronts/nginx.conf in front of addresses, by name.
func nginx(t *testing.T, ip string, at map[string]string) {
	where := os.Getenv("PATH") + ":/usr/sbin:" + os.Getenv("GATEWAY_PEERS") + "/usr/sbin"
	program := ""
	for _, dir := range filepath.SplitList(where) {
		if path, err := exec.LookPath(filepath.Join(dir, "nginx")); err == nil {
			program = path
			break
		}
	}
	if program == "" {
		t.Fatal("no nginx: run scripts/setup nginx")
	}
	text, err := os.ReadFile("../../../examples/fronts/nginx.conf")
	if err != nil {
		t.Fatal(err)
	}
	run, err := os.MkdirTemp(programs, "nginx-")
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(run, 0o777)
	conf := os.Expand(string(text), func(name string) string {
		if at[name] != "" {
			return at[name]
		}
		switch name {
		case "RUN":
			return run
		case "IP":
			return ip
		case "SECOND":
			return at["HTTP"]
		}
		return "$" + name
	})
	if os.Getuid() != 0 {
		conf = strings.Replace(conf, "user ", "#user ", 1)
	}
	path := filepath.Join(run, "nginx.conf")
	if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
		t.Fatal(err)
	}
	p := start(t, nil, program, "-p", run, "-e", "stderr", "-c", path, "-g", "daemon off;")
	for port := 8081; port <= 8085; port++ {
		p.listening(fmt.Sprintf("%s:%d", ip, port))
	}
	t.Cleanup(func() {
		if log, _ := os.ReadFile(filepath.Join(run, "nginx.log")); t.Failed() {
			t.Logf("nginx.log:\n%s", log)
		}
	})
}

// ownIP is an address that no other process takes for itself.
func ownIP(t *testing.T) string {
	for n := range 200 {
		pid := os.Getpid() + n
		ip := fmt.Sprintf("127.%d.%d.%d", 100+pid>>16&63, pid>>8&255, pid&255)
		if l, err := net.Listen("tcp", ip+":8081"); err == nil {
			l.Close()
			return ip
		}
	}
	t.Fatal("no address is free")
	return ""
}

// The same behind nginx, by every protocol that it has for it.
func TestApplicationsBehindNginx(t *testing.T) {
	program := build(t, "serve")
	for _, app := range apps {
		for _, front := range []struct {
			name, protocol, variable string
			port                     int
		}{
			{"http", "", "HTTP", 8081},
			{"uwsgi", "uwsgi://", "UWSGI", 8082},
			{"fastcgi, kept", "fastcgi://", "FASTCGI", 8083},
			{"fastcgi", "fastcgi://", "FASTCGI", 8084},
			{"scgi", "scgi://", "SCGI", 8085},
		} {
			t.Run(app.name+" by "+front.name, func(t *testing.T) {
				dir, back := files(t), backend(t)
				theirs := httptest.NewServer(app.new(dir, back))
				defer theirs.Close()
				addresses := freeAddresses(t, 4)
				at := map[string]string{}
				for i, name := range []string{"HTTP", "UWSGI", "FASTCGI", "SCGI"} {
					at[name] = addresses[i]
				}
				p := start(t, nil, program, app.name, dir, back, front.protocol+at[front.variable])
				p.listening(at[front.variable])
				ip := ownIP(t)
				nginx(t, ip, at)
				compare(t, "nginx", fmt.Sprintf("%s:%d", ip, front.port), theirs.Listener.Addr().String(),
					requests(app.collection))
			})
		}
	}
}
