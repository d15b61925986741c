// Package nethttp takes the tests of Go's own net/http out of the release that is here, and runs them
// against a server of libgateway.  Nothing of them is kept in this repository: they are read from
// $GOROOT when the tests run, and written below target/.
//
// Extract copies the declarations that the wanted tests need, whole and unchanged, but for four edits:
// net/http/httptest becomes the package of that name beside this one, packages that only the standard
// library may import become ones that anybody may, what is handed to net/http's Serve is handed to ours,
// and the tests know under which path they now are.  What testdata/overrides.go declares replaces what has the same name.
package nethttp

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// here is where the packages of this directory are imported from.
const here = "libgateway.org/go/gateway/tests/nethttp/"

// replaced imports, by path: what to import instead, and under which name.
var replaced = map[string]string{
	"net/http/httptest":       `"` + here + `httptest"`,
	"internal/testenv":        `"` + here + `testenv"`,
	"net/http/internal":       `internal "net/http/httputil"`,
	"net/http/internal/ascii": `ascii "strings"`,
}

// Package is one directory of Go's sources, with the names of its test files to look at.
type Package struct {
	Dir   string   // below GOROOT/src
	Files []string // whose tests are listed; helpers may come from any of its tests
}

// A decl is a piece of a file: a function, a method, one line of a group, or a whole group of constants.
type decl struct {
	file  *file
	node  ast.Node
	word  string // what a line of a group needs in front of it
	names []string
	of    string // the type, if it is a method
}

type file struct {
	name    string
	src     []byte
	syntax  *ast.File
	imports map[string]string // from name to path
}

// Sources is what Extract reads.
type Sources struct {
	pkg      Package
	fset     *token.FileSet
	files    []*file
	decls    map[string]*decl
	methods  map[string][]*decl
	internal map[string]bool // names that only the package itself, or its export_test.go, has
	external bool            // its tests are in a package of their own
}

// Read parses a package's tests.
func Read(goroot string, pkg Package) (*Sources, error) {
	s := &Sources{
		pkg: pkg, fset: token.NewFileSet(),
		decls: map[string]*decl{}, methods: map[string][]*decl{}, internal: map[string]bool{},
	}
	dir := filepath.Join(goroot, "src", filepath.FromSlash(pkg.Dir))
	paths, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(paths) == 0 {
		return nil, fmt.Errorf("%s: no Go sources there: %v", dir, err)
	}

	parsed := map[string]*file{}
	for _, path := range paths {
		src, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		syntax, err := parser.ParseFile(s.fset, path, src, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		name := filepath.Base(path)
		parsed[name] = &file{name: name, src: src, syntax: syntax, imports: imports(syntax)}
	}
	for _, name := range pkg.Files {
		if f := parsed[name]; f != nil && strings.HasSuffix(f.syntax.Name.Name, "_test") {
			s.external = true
		}
	}

	for _, path := range paths {
		f := parsed[filepath.Base(path)]
		test := strings.HasSuffix(f.name, "_test.go")
		switch {
		case test && strings.HasSuffix(f.syntax.Name.Name, "_test") == s.external:
			s.files = append(s.files, f)
			s.declare(f)
		case f.name == "export_test.go":
			s.hide(f, true)
		case !test && !s.external:
			s.hide(f, false)
		}
	}
	return s, nil
}

// imports gives the path of each import by the name that it is used by.
func imports(syntax *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range syntax.Imports {
		name, path := imported(spec)
		names[name] = path
	}
	return names
}

func imported(spec *ast.ImportSpec) (name, path string) {
	path, _ = strconv.Unquote(spec.Path.Value)
	if spec.Name != nil {
		return spec.Name.Name, path
	}
	return path[strings.LastIndex(path, "/")+1:], path
}

// declare notes what a test file declares.
func (s *Sources) declare(f *file) {
	for _, d := range f.syntax.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil {
				of := receiver(d)
				s.methods[of] = append(s.methods[of], &decl{file: f, node: d, names: []string{d.Name.Name}, of: of})
			} else if d.Name.Name != "init" && d.Name.Name != "TestMain" {
				s.decls[d.Name.Name] = &decl{file: f, node: d, names: []string{d.Name.Name}}
			}
		case *ast.GenDecl:
			if d.Tok == token.IMPORT {
				continue
			}
			for _, spec := range d.Specs {
				one := &decl{file: f, node: spec, word: d.Tok.String() + " ", names: specNames(spec)}
				if d.Tok == token.CONST || !d.Lparen.IsValid() {
					one.node, one.word = d, ""
				}
				for _, name := range one.names {
					s.decls[name] = one
				}
			}
		}
	}
}

// hide notes names that a test outside of the package cannot have: those of export_test.go, and what the
// package itself keeps for itself.
func (s *Sources) hide(f *file, all bool) {
	for _, d := range f.syntax.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if all && d.Recv != nil {
				s.internal["."+d.Name.Name] = true
			} else if d.Recv == nil && (all || !d.Name.IsExported()) {
				s.internal[d.Name.Name] = true
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				for _, name := range specNames(spec) {
					if all || !ast.IsExported(name) {
						s.internal[name] = true
					}
				}
			}
		}
	}
}

func specNames(spec ast.Spec) (names []string) {
	switch spec := spec.(type) {
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			names = append(names, name.Name)
		}
	case *ast.TypeSpec:
		names = append(names, spec.Name.Name)
	}
	return names
}

func receiver(f *ast.FuncDecl) string {
	t := f.Recv.List[0].Type
	for {
		switch of := t.(type) {
		case *ast.StarExpr:
			t = of.X
		case *ast.IndexExpr:
			t = of.X
		case *ast.IndexListExpr:
			t = of.X
		case *ast.Ident:
			return of.Name
		default:
			return ""
		}
	}
}

// Tests names every test of the files that are looked at, file by file.
func (s *Sources) Tests(name string) (tests []string) {
	for _, f := range s.files {
		if f.name != name {
			continue
		}
		for _, d := range f.syntax.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && d.Recv == nil && isTest(d.Name.Name) {
				tests = append(tests, d.Name.Name)
			}
		}
	}
	return tests
}

func isTest(name string) bool {
	return strings.HasPrefix(name, "Test") && name != "TestMain"
}

// uses is what a declaration speaks of: names of the package, and methods and fields of anything.
func uses(d *decl) (names, members []string) {
	var visit func(ast.Node) bool
	visit = func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			members = append(members, n.Sel.Name)
			ast.Inspect(n.X, visit)
			return false
		case *ast.Ident:
			if n.Obj == nil || topLevel(d.file.syntax, n.Obj) {
				names = append(names, n.Name)
			}
		}
		return true
	}
	ast.Inspect(d.node, visit)
	return names, members
}

// topLevel says whether an object is declared in the file's scope.
func topLevel(f *ast.File, o *ast.Object) bool {
	return f.Scope.Lookup(o.Name) == o
}

// Missing says what keeps a test from being taken out: the first name that only net/http has, or a
// package that cannot be imported; nothing, if it can be.
func (s *Sources) Missing(test string, overrides map[string]bool) string {
	why := ""
	s.closure([]string{test}, overrides, func(d *decl, reason string) {
		if why == "" {
			why = reason
		}
	})
	return why
}

// closure calls missing for what cannot be had, and gives what is needed for the tests.
func (s *Sources) closure(tests []string, overrides map[string]bool, missing func(*decl, string)) map[*decl]bool {
	needed := map[*decl]bool{}
	queue := []*decl{}
	take := func(d *decl) {
		if d != nil && !needed[d] {
			needed[d] = true
			queue = append(queue, d)
		}
	}
	for _, test := range tests {
		take(s.decls[test])
	}
	for name, own := range overrides {
		if !own {
			take(s.decls[name])
		}
	}
	for len(queue) > 0 {
		d := queue[0]
		queue = queue[1:]
		names, members := uses(d)
		for _, name := range names {
			path, imported := d.file.imports[name]
			switch {
			case name == "_" || overrides[name]:
			case s.decls[name] != nil:
				take(s.decls[name])
			case s.internal[name]:
				missing(d, name)
			case imported && replaced[path] == "" && strings.Contains("/"+path+"/", "/internal/"):
				missing(d, path)
			}
		}
		for _, member := range members {
			if s.internal["."+member] && !overrides["."+member] {
				missing(d, member)
			}
		}
		for _, name := range d.names {
			for _, method := range s.methods[name] {
				if d.of == "" && !overrides[name+"."+method.names[0]] {
					take(method)
				}
			}
		}
	}
	return needed
}

// release is "go1.26" of "go1.26.8": what the language of Go's own tests is.
func release() string {
	return strings.Join(strings.SplitN(strings.Fields(runtime.Version())[0], ".", 3)[:2], ".")
}

// Overrides names what a file declares, as true, and what it uses of others, as false; a method is named
// Type.Method.
func Overrides(path string) (map[string]bool, error) {
	syntax, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for _, name := range syntax.Unresolved {
		names[name.Name] = false
	}
	for _, d := range syntax.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil {
				names[receiver(d)+"."+d.Name.Name] = true
			} else {
				names[d.Name.Name] = true
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				for _, name := range specNames(spec) {
					names[name] = true
				}
			}
		}
	}
	return names, nil
}

// name is that of the package that the tests are in.
func (s *Sources) name() string {
	return filepath.Base(s.pkg.Dir) + "_test"
}

// Extract writes the tests and what they need into a directory, as a package of tests of its own.
func (s *Sources) Extract(tests []string, overrides map[string]bool, dir string) error {
	var errs []string
	needed := s.closure(tests, overrides, func(d *decl, reason string) {
		errs = append(errs, fmt.Sprintf("%s: %s needs %s, which cannot be had", d.file.name, d.names[0], reason))
	})
	for _, test := range tests {
		if s.decls[test] == nil {
			errs = append(errs, test+" is not there")
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("%s", strings.Join(errs, "\n"))
	}

	// The library's settings, too, are those of the release, and not those of this module's floor.
	settings := fmt.Sprintf("//go:build %s\n\n//go:debug default=%[1]s\n\npackage %s\n", release(), s.name())
	if release() == "go1.22" {
		settings = "package " + s.name() + "\n" // the floor itself, which does not know that word yet
	}
	if err := os.WriteFile(filepath.Join(dir, "settings_test.go"), []byte(settings), 0o644); err != nil {
		return err
	}
	for _, f := range s.files {
		var decls []*decl
		for d := range needed {
			if d.file == f {
				decls = append(decls, d)
			}
		}
		if len(decls) == 0 {
			continue
		}
		slices.SortFunc(decls, func(a, b *decl) int { return int(a.node.Pos() - b.node.Pos()) })
		if err := os.WriteFile(filepath.Join(dir, f.name), s.print(f, decls, overrides), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sources) print(f *file, decls []*decl, overrides map[string]bool) []byte {
	var body strings.Builder
	used, printed := map[string]bool{}, map[ast.Node]bool{}
	for _, d := range decls {
		if printed[d.node] {
			continue
		}
		printed[d.node] = true
		body.WriteString("\n" + d.word + s.edited(f, d, overrides) + "\n")
		ast.Inspect(d.node, func(n ast.Node) bool {
			if n, ok := n.(*ast.SelectorExpr); ok {
				if x, ok := n.X.(*ast.Ident); ok && x.Obj == nil {
					used[x.Name] = true
				}
			}
			return true
		})
	}

	var head strings.Builder
	fmt.Fprintf(&head, "//go:build %s\n\npackage %s\n\nimport (\n", release(), s.name())
	if !s.external {
		fmt.Fprintf(&head, "\t. %q\n", s.pkg.Dir)
	}
	for _, spec := range f.syntax.Imports {
		name, path := imported(spec)
		switch by := replaced[path]; {
		case !used[name] && name != "." && name != "_":
		case by != "":
			head.WriteString("\t" + by + "\n")
		case spec.Name != nil:
			fmt.Fprintf(&head, "\t%s %q\n", name, path)
		default:
			fmt.Fprintf(&head, "\t%q\n", path)
		}
	}
	head.WriteString(")\n")
	for name, path := range f.imports {
		if name == "." {
			fmt.Fprintf(&head, "\nvar _ = %s\n", somethingOf[path])
		}
	}
	if !s.external {
		fmt.Fprintf(&head, "\nvar _ = %s\n", somethingOf[s.pkg.Dir])
	}
	return []byte(head.String() + body.String())
}

// somethingOf keeps an import that stands for all of its names from being unused.
var somethingOf = map[string]string{
	"net/http":          "StatusOK",
	"net/http/httputil": "DumpRequest",
}

// edited is a declaration's text, with servers of net/http made ours.
func (s *Sources) edited(f *file, d *decl, overrides map[string]bool) string {
	type edit struct {
		from, to int
		text     string
	}
	var edits []edit
	at := func(p token.Pos) int { return s.fset.Position(p).Offset }
	ast.Inspect(d.node, func(n ast.Node) bool {
		// The tests look for their own names in what is logged.
		if text, ok := n.(*ast.BasicLit); ok && strings.Contains(text.Value, "net/http_test.") {
			own := strings.ReplaceAll(text.Value, "net/http_test.", here+"taken_test.")
			edits = append(edits, edit{at(text.Pos()), at(text.End()), own})
		}
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		switch fun := call.Fun.(type) {
		case *ast.Ident:
			if fun.Name == "Serve" && len(call.Args) == 2 && fun.Obj == nil && overrides["serve2"] {
				edits = append(edits, edit{at(fun.Pos()), at(fun.End()), "serve2"})
			}
		case *ast.SelectorExpr:
			if fun.Sel.Name == "Serve" && len(call.Args) == 1 && overrides["serve1"] {
				x := string(f.src[at(fun.X.Pos()):at(fun.X.End())])
				edits = append(edits, edit{at(fun.Pos()), at(call.Lparen) + 1, "serve1(" + x + ", "})
			}
		}
		return true
	})
	slices.SortFunc(edits, func(a, b edit) int { return b.from - a.from })
	base := at(d.node.Pos())
	text := string(f.src[base:at(d.node.End())])
	for _, e := range edits {
		text = text[:e.from-base] + e.text + text[e.to-base:]
	}
	return text
}
