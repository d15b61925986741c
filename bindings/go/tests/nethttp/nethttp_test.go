package nethttp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// perTest is how long one of Go's tests may take.
const perTest = 60 * time.Second

// overrides by the package whose tests they are for.
var overrides = map[string]string{
	"net/http":          "testdata/overrides.go",
	"net/http/httputil": "testdata/httputil.go",
}

func goroot(t *testing.T) string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func read(t *testing.T) (*List, map[string]*Sources) {
	list, err := ReadList("list.txt")
	if err != nil {
		t.Fatal(err)
	}
	sources := map[string]*Sources{}
	for _, pkg := range list.Packages {
		if sources[pkg.Dir], err = Read(goroot(t), pkg); err != nil {
			t.Fatal(err)
		}
	}
	return list, sources
}

// Every test of the files in the list is in the list, and the other way round; where Go is of another
// release than the list, what differs is said.
func TestListIsComplete(t *testing.T) {
	list, sources := read(t)
	differs := t.Errorf
	if list.Release != release() {
		t.Logf("list.txt is for %s; this is %s", list.Release, runtime.Version())
		differs = t.Logf
	}
	run := 0
	for _, pkg := range list.Packages {
		over, err := Overrides(overrides[pkg.Dir])
		if err != nil {
			t.Fatal(err)
		}
		left := list.LeftOut[pkg.Dir]
		known := map[string]bool{}
		for _, file := range pkg.Files {
			for _, test := range sources[pkg.Dir].Tests(file) {
				known[test] = true
				why := sources[pkg.Dir].Missing(test, over)
				switch {
				case slices.Contains(list.Run[pkg.Dir], test) || left[test] != "":
				case why != "":
					differs("%s %s: not in the list; it needs %s", pkg.Dir, test, why)
				default:
					differs("%s %s: not in the list; it could be run", pkg.Dir, test)
				}
			}
		}
		for _, test := range list.Run[pkg.Dir] {
			if !known[test] {
				differs("%s %s is in the list, and not in %s", pkg.Dir, test, runtime.Version())
			}
		}
		for test := range left {
			if !known[test] {
				differs("%s %s is in the list, and not in %s", pkg.Dir, test, runtime.Version())
			}
		}
		run += len(list.Run[pkg.Dir])
	}
	if run < 60 {
		t.Errorf("%d tests are to be run", run)
	}
}

// The tests that the list says, each in a process of its own; all in one with the race detector, which takes
// long to start.
func TestNetHTTP(t *testing.T) {
	list, sources := read(t)
	total := 0
	for _, pkg := range list.Packages {
		tests := slices.Clone(list.Run[pkg.Dir])
		if list.Release != release() {
			over, _ := Overrides(overrides[pkg.Dir])
			tests = slices.DeleteFunc(tests, func(test string) bool {
				gone := sources[pkg.Dir].decls[test] == nil || sources[pkg.Dir].Missing(test, over) != ""
				if gone {
					t.Logf("%s %s cannot be run with %s", pkg.Dir, test, runtime.Version())
				}
				return gone
			})
		}
		total += len(tests)
		if len(tests) == 0 {
			continue
		}
		program, dir := build(t, sources[pkg.Dir], tests)
		t.Run(pkg.Dir, func(t *testing.T) {
			if race {
				all(t, program, dir, tests)
				return
			}
			for _, test := range tests {
				t.Run(test, func(t *testing.T) { one(t, program, dir, test) })
			}
		})
	}
	if total < 60 {
		t.Errorf("only %d tests: has this Go come without its own?", total)
	}
}

// build compiles the tests, in a directory that is a sibling of testdata, as they expect.
func build(t *testing.T, s *Sources, tests []string) (program, dir string) {
	over, err := Overrides(overrides[s.pkg.Dir])
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), filepath.Base(s.pkg.Dir))
	if keep := os.Getenv("NETHTTP_KEEP"); keep != "" {
		dir = filepath.Join(keep, filepath.Base(s.pkg.Dir))
		os.RemoveAll(dir)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := s.Extract(tests, over, dir); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(overrides[s.pkg.Dir])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overrides_test.go"), text, 0o644); err != nil {
		t.Fatal(err)
	}

	// The compiler is told that the files lie below this module, where its dependencies are known.
	module, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	replace := map[string]string{}
	files, _ := filepath.Glob(filepath.Join(dir, "*_test.go"))
	for _, file := range files {
		replace[filepath.Join(module, "nethttp", "taken", filepath.Base(file))] = file
	}
	overlay, _ := json.Marshal(map[string]any{"Replace": replace})
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(dir, "program")
	args := []string{"test", "-c", "-vet=off", "-overlay", filepath.Join(dir, "overlay.json"), "-o", program}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./nethttp/taken")...)
	cmd.Dir = module
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	if err := os.Symlink(filepath.Join(goroot(t), "src", filepath.FromSlash(s.pkg.Dir), "testdata"),
		filepath.Join(dir, "testdata")); err != nil {
		t.Fatal(err)
	}
	// TestServeFile and its kin read one of the package's own files.
	for _, name := range []string{"fs.go", "fs_test.go"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			os.Symlink(filepath.Join(goroot(t), "src", filepath.FromSlash(s.pkg.Dir), name), filepath.Join(dir, name))
		}
	}
	return program, dir
}

func all(t *testing.T, program, dir string, tests []string) {
	cmd := exec.Command(program, "-test.run", "^("+strings.Join(tests, "|")+")$", "-test.v", "-test.timeout=5m")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	for _, test := range tests {
		t.Run(test, func(t *testing.T) {
			if !strings.Contains(string(out), "--- PASS: "+test+" ") {
				t.Error("it has not passed")
			}
		})
	}
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func one(t *testing.T, program, dir, test string) {
	cmd := exec.Command(program, "-test.run", "^"+test+"$", "-test.v",
		fmt.Sprintf("-test.timeout=%v", perTest))
	cmd.Dir = dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	skipped := strings.Contains(out.String(), "--- SKIP: "+test)
	ran := strings.Contains(out.String(), "--- PASS: "+test+" ")
	if err != nil || skipped || !ran {
		t.Errorf("%v\n%s", err, out.String())
	}
}
