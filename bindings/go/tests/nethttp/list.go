package nethttp

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// A List says of every test what becomes of it:
//
//	go 1.26                          the release that it was made for
//	net/http serve_test.go           a file; its tests follow
//	run       TestHostHandlers
//	left out  TestTLSServer: why, in a sentence
//
// Empty lines and what follows a # at the start of a line are for readers.
type List struct {
	Release  string
	Packages []Package
	Run      map[string][]string // by the package's directory
	LeftOut  map[string]map[string]string
}

// ReadList reads one; every test that is left out has a reason.
func ReadList(path string) (*List, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()

	list := &List{Run: map[string][]string{}, LeftOut: map[string]map[string]string{}}
	dir, seen := "", map[string]bool{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		words := strings.Fields(line)
		bad := func(what string) (*List, error) { return nil, fmt.Errorf("%s:%d: %s: %q", path, n, what, line) }
		switch {
		case line == "" || line[0] == '#':
		case words[0] == "go" && len(words) == 2:
			list.Release = "go" + words[1]
		case words[0] == "run" && len(words) == 2 && dir != "":
			if seen[dir+words[1]] {
				return bad("named twice")
			}
			seen[dir+words[1]] = true
			list.Run[dir] = append(list.Run[dir], words[1])
		case strings.HasPrefix(line, "left out ") && dir != "":
			name, why, _ := strings.Cut(strings.TrimSpace(line[len("left out "):]), ":")
			if why = strings.TrimSpace(why); why == "" {
				return bad("no reason")
			}
			if seen[dir+name] {
				return bad("named twice")
			}
			seen[dir+name] = true
			list.LeftOut[dir][name] = why
		case len(words) == 2 && strings.HasSuffix(words[1], "_test.go"):
			dir = words[0]
			if last := len(list.Packages) - 1; last >= 0 && list.Packages[last].Dir == dir {
				list.Packages[last].Files = append(list.Packages[last].Files, words[1])
			} else {
				list.Packages = append(list.Packages, Package{Dir: dir, Files: words[1:]})
				list.LeftOut[dir] = map[string]string{}
			}
		default:
			return bad("neither a file nor a test")
		}
	}
	return list, lines.Err()
}
