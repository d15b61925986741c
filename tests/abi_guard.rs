//! The ABI against what it was: `tests/abi/baseline.abi`, and programs compiled against the header of
//! the version before, `tests/abi/gateway-0.1.h`, run on the library of today.
//!
//! The baseline is what abidw (abigail-tools) makes of a twin: a library that C compiles from
//! `gateway.h`, whose functions do nothing.  It says in C's terms what a caller relies on, and
//! nothing of what is behind the pointers, which the debug information of the real library is full
//! of.  That the real library is laid out as the header says is read from that information here;
//! that it exports what the header declares, in `tests/abi.rs`.
//!
//! Until 1.0 the ABI may change: `make abi-baseline` renews both files.

mod harness;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use harness::support::{STRICT, include_dir, library, library_dir, output, root, run, scratch_dir};
use harness::{SIGTERM, Server, program};

const CHANGED: &str = "the ABI is not what tests/abi/baseline.abi says.  Programs that were compiled \
    before would break.  If that is meant (until 1.0 it may be): make abi-baseline, and a line in \
    CHANGELOG.md that says what callers must do";

const BASELINE: &str = "tests/abi/baseline.abi";
const SNAPSHOT: &str = "tests/abi/gateway-0.1.h";

/// The programs of tests/c that are compiled against the snapshot.
const PROGRAMS: [&str; 5] =
    ["app.c", "design_hello.c", "design_later.c", "design_loop.c", "design_middleware.c"];

/// The one of them that is a module.
const MODULE: &str = "design_later.c";

fn header() -> String {
    fs::read_to_string(include_dir().join("gateway.h")).expect("include/gateway.h")
}

/// Whether the tool is here; scripts/setup installs it for `make test`.
fn have(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        eprintln!("no {tool} (abigail-tools) here: the ABI is not compared");
    }
    // The baseline has the word size and the calling convention of the machine that made it.
    found && cfg!(all(target_arch = "x86_64", target_os = "linux"))
}

/// A library with debug information that declares what `header` does.
fn twin(name: &str, header: &str) -> PathBuf {
    let dir = scratch_dir().join(format!("twin-{name}"));
    fs::create_dir_all(&dir).expect("create a directory");
    fs::write(dir.join("gateway.h"), header).expect("write a header");

    // Statements of the header without comments and directives: `type gw_name(...)`.
    let mut code = String::new();
    for piece in header.split("/*") {
        code += piece.split_once("*/").map_or(piece, |(_, code)| code);
    }
    let code = code.replace("\\\n", " ");
    let lines = code.lines().filter(|line| !line.trim_start().starts_with('#'));
    let code = lines.collect::<Vec<_>>().join("\n").replace("extern \"C\" {", "");
    let mut source = String::from("#include <gateway.h>\n");
    let mut depth = 0;
    for statement in code.split_inclusive([';', '{', '}']) {
        let at_top = depth == 0;
        depth += i32::from(statement.ends_with('{')) - i32::from(statement.ends_with('}'));
        let declaration = statement.trim().trim_end_matches(';');
        let Some((left, _)) = declaration.split_once('(').filter(|_| at_top) else { continue };
        if declaration.starts_with("typedef") || !left.contains(" gw_") && !left.contains("*gw_") {
            continue;
        }
        let body = if left.starts_with("void gw_") { "{}" } else { "{ return 0; }" };
        writeln!(source, "{declaration}\n{body}").expect("write to a string");
    }
    fs::write(dir.join("twin.c"), source).expect("write a source file");

    let out = dir.join("libgateway.so");
    run(Command::new("cc")
        .args(["-std=c11", "-g", "-shared", "-fPIC", "-Wno-unused", "-I."])
        .args(["twin.c", "-Wl,-soname,libgateway.so.0", "-o"])
        .arg(&out)
        .current_dir(&dir));
    out
}

fn abidw(library: &Path, out: &Path) {
    run(Command::new("abidw")
        .args(["--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", "--no-elf-needed"])
        .args(["--type-id-style", "hash", "--out-file"])
        .arg(out)
        .arg(library));
}

/// What has changed, other than by additions; empty when nothing has.
fn abidiff(old: &Path, new: &Path) -> String {
    let ended = output(Command::new("abidiff").arg("--no-added-syms").args([old, new]));
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    match ended.status.code() {
        Some(0) => String::new(),
        Some(code) if code & 3 == 0 => said,
        code => panic!("abidiff: {code:?}: {said}{}", String::from_utf8_lossy(&ended.stderr)),
    }
}

#[test]
fn the_abi_is_the_baseline() {
    if !have("abidw") || !have("abidiff") {
        return;
    }
    let library = twin("today", &header());
    let baseline = root().join(BASELINE);
    if std::env::var("GATEWAY_BASELINE").as_deref() == Ok("update") {
        abidw(&library, &baseline);
        fs::write(root().join(SNAPSHOT), header()).expect("write the snapshot");
    }
    let changes = abidiff(&baseline, &library);
    assert!(changes.is_empty(), "{CHANGED}\n\n{changes}");
}

/// The twin has everything that is exported, and nothing else.
#[test]
fn the_twin_is_complete() {
    let names = |library: &Path| {
        let text = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library));
        let mut names: Vec<_> =
            text.lines().filter_map(|line| Some(line.rsplit_once(' ')?.1.to_owned())).collect();
        names.sort();
        names
    };
    assert_eq!(names(&twin("complete", &header())), names(&library()));
}

/// Each of these would break a compiled program; that the comparison sees them shows that it looks.
#[test]
fn the_baseline_notices_what_breaks_programs() {
    if !have("abidw") || !have("abidiff") {
        return;
    }
    let header = header();
    let changes = [
        // A member that is wider, two that change places, one that is added, within a callback's
        // argument, a parameter, a result, and a function that is gone.
        ("wider", "    int32_t     backlog;", "    int64_t     backlog;"),
        ("swapped", "    uint64_t sent;      ", "    uint64_t received0; uint64_t sent;   "),
        ("callback", "    int32_t  level;  ", "    int64_t  level;  "),
        ("parameter", "int64_t *wait_ms);", "int32_t *wait_ms);"),
        ("result", "int32_t gw_server_fd(", "int64_t gw_server_fd("),
        ("gone", "gw_result gw_server_wake(gw_server *s);", ""),
    ];
    for (name, from, to) in changes {
        assert!(header.contains(from), "{name}: the header has no `{from}`: choose another");
        let library = twin(name, &header.replace(from, to));
        assert!(!abidiff(&root().join(BASELINE), &library).is_empty(), "{name} is not seen");
    }

    // A new function breaks nobody.
    let more = header
        .replace("uint32_t gw_abi(void); ", "uint32_t gw_abi_more(void);\nuint32_t gw_abi(void); ");
    assert_ne!(more, header);
    assert_eq!(abidiff(&root().join(BASELINE), &twin("more", &more)), "");
}

/// A struct: its size in bits, and the offset and name of each member.
type Layout = (u64, Vec<(u64, String)>);

/// The structs of an abixml file that `wanted` says a C name for, out of the outermost namespace
/// (a Rust crate; "" in C) and the name: crates have structs of the same name.
fn layouts(path: &Path, wanted: impl Fn(&str, &str) -> Option<String>) -> BTreeMap<String, Layout> {
    let text = fs::read_to_string(path).expect("abidw's output");
    let attribute = |line: &str, name: &str| {
        let value = line.split_once(&format!(" {name}='"))?.1;
        Some(value.split('\'').next()?.to_owned())
    };
    let bits = |line: &str, name: &str| attribute(line, name).and_then(|text| text.parse().ok());
    let (mut found, mut now) = (BTreeMap::<String, Layout>::new(), None);
    let (mut offset, mut spaces) = (0, Vec::new());
    for line in text.lines().map(str::trim) {
        if line.starts_with("<namespace-decl ") {
            spaces.push(attribute(line, "name").expect("a name"));
        } else if line == "</namespace-decl>" {
            spaces.pop();
        } else if line.starts_with("<class-decl ") {
            let space = spaces.first().map_or("", String::as_str);
            now = attribute(line, "name").and_then(|name| wanted(space, &name));
            // Without a size it is a declaration alone.
            let size = bits(line, "size-in-bits").filter(|_| !line.contains("is-declaration-only"));
            now = now.filter(|_| size.is_some() && !line.ends_with("/>"));
            if let (Some(name), Some(size)) = (&now, size) {
                found.insert(name.clone(), (size, Vec::new()));
            }
        } else if line == "</class-decl>" {
            now = None;
        } else if let Some(name) = &now {
            let layout = found.get_mut(name).expect("it was put there");
            if line.starts_with("<data-member ") {
                offset = bits(line, "layout-offset-in-bits").expect("an offset");
            } else if line.starts_with("<var-decl ") {
                // What begins at the end has no size: Rust's markers.
                if offset < layout.0 {
                    layout.1.push((offset, attribute(line, "name").expect("a name")));
                }
            }
        }
    }
    found
}

/// The compiler's own account of the real library: its structs are the header's.
#[test]
fn the_library_is_laid_out_as_the_header_says() {
    if !have("abidw") {
        return;
    }
    let dir = scratch_dir();
    let (c, rust) = (dir.join("twin.abi"), dir.join("library.abi"));
    abidw(&twin("layout", &header()), &c);
    abidw(&library(), &rust);

    let c = layouts(&c, |_, name| name.starts_with("gw_").then(|| name.to_owned()));
    let rust = layouts(&rust, |space, name| {
        // As build/layout.rs has them.
        let renamed = match name {
            "Octets" => "gw_str",
            "Pair" => "gw_pair",
            "Chunk" => "gw_chunk",
            "Input" => "gw_input",
            "Environ" => "gw_environ",
            "Response" => "gw_response",
            "Writer" => "gw_writer",
            "BodyFrame" => "gw_body",
            "AppFrame" => "gw_app",
            _ => name,
        };
        (space == "gateway" && renamed.starts_with("gw_")).then(|| renamed.to_owned())
    });
    assert!(c.len() >= 16, "{:?}", c.keys());
    if rust.is_empty() && !cfg!(debug_assertions) {
        eprintln!("this build has no debug information: the library's structs are not compared");
        return;
    }
    for (name, layout) in &c {
        let real = rust.get(name);
        assert_eq!(real, Some(layout), "{name}: the library's (left) is not the header's (right)");
    }
}

/// A program compiled against the snapshot, linked with the library of today.
fn compiled_before(name: &str) -> PathBuf {
    let include = scratch_dir().join("include-before");
    fs::create_dir_all(&include).expect("create a directory");
    // By a rename: tests run side by side.
    let fresh = include.join(format!("{name}.h"));
    fs::copy(root().join(SNAPSHOT), &fresh).expect("copy the snapshot");
    fs::rename(&fresh, include.join("gateway.h")).expect("put the header in place");

    let out = scratch_dir().join(format!("before-{}", name.trim_end_matches(".c")));
    let lib = library_dir();
    run(Command::new("cc")
        .arg("-std=c11")
        .args(STRICT)
        .args(["-g", "-O1", "-I"])
        .arg(&include)
        .arg(root().join("tests/c").join(name))
        .arg("-o")
        .arg(&out)
        .arg("-L")
        .arg(&lib)
        .arg(format!("-Wl,-rpath,{}", lib.display()))
        .args(["-lgateway", "-pthread"])
        .args(if name == MODULE { &["-shared", "-fPIC"][..] } else { &[] }));
    out
}

#[test]
fn every_design_program_is_compiled_against_the_snapshot() {
    for entry in fs::read_dir(root().join("tests/c")).expect("tests/c") {
        let name = entry.expect("a program").file_name().to_string_lossy().into_owned();
        assert!(!name.starts_with("design_") || PROGRAMS.contains(&&*name), "{name} is not");
    }
}

#[test]
fn hello_of_the_version_before_runs() {
    let server = Server::start(&compiled_before("design_hello.c"), &[]);
    for _ in 0..20 {
        assert_eq!(server.get("/"), "hello, world\n");
    }
    server.stop();
}

#[test]
fn middleware_of_the_version_before_runs() {
    let server = Server::start(&compiled_before("design_middleware.c"), &[]);
    let response = server.connect().get("/");
    assert_eq!(response.header("x-frame-options"), Some("DENY"));
    assert_eq!(response.text(), "hello, frame\n");
    server.stop();
}

#[test]
fn loop_of_the_version_before_runs() {
    let server = Server::start(&compiled_before("design_loop.c"), &[]);
    for _ in 0..10 {
        assert_eq!(server.get("/"), "hello, loop\n");
    }
    let ended = server.end();
    assert_eq!((ended.status, &*ended.stdout), (Some(0), "10 requests\n"), "{ended:?}");
}

/// Also a module: the program that loads it is of today.
#[test]
fn module_of_the_version_before_is_loaded() {
    let module = compiled_before(MODULE);
    let path = module.to_str().expect("a plain path");
    let server = Server::start(&program(&["tests/c/module_host.c"]), &["{}", path, ""]);
    assert_eq!(server.get("/"), "10\n9\n8\n7\n6\n5\n4\n3\n2\n1\n");
    assert_eq!(server.get("/later"), "at last\n");
    server.stop();
}

/// A module that is compiled against `header`.
fn module_of(name: &str, header: &str, defines: &[&str]) -> PathBuf {
    let dir = scratch_dir().join(format!("module-of-{name}"));
    fs::create_dir_all(&dir).expect("create a directory");
    fs::write(dir.join("gateway.h"), header).expect("write a header");
    let (out, lib) = (dir.join("app.so"), library_dir());
    run(Command::new("cc")
        .args(["-std=c11", "-g", "-O1", "-shared", "-fPIC", "-DNAME=\"a\"", "-I"])
        .arg(&dir)
        .args(STRICT)
        .args(defines)
        .arg(root().join("tests/c/hooked.c"))
        .arg("-o")
        .arg(&out)
        .arg("-L")
        .arg(&lib)
        .args(["-lgateway"]));
    out
}

fn serve_module(module: &Path) -> Server {
    let mount = format!("mount=/ {} one", module.display());
    Server::launch(&program(&["tests/c/hooked_host.c"]), &["bind={}", "workers=1", &mount])
}

/// What the module says: its hooks of then, in a worker of today.
fn hooks_run(module: &Path, more: &[&str]) {
    let server = serve_module(module).listening();
    assert!(server.get("/").starts_with("a one "), "what it was told");
    let ended = server.stop();
    let said: Vec<_> = ended.stderr.lines().filter_map(|it| it.split_once(" a one ")).collect();
    let said: Vec<_> = said.into_iter().map(|(_, what)| what).collect();
    assert_eq!(said, [more, &["init", "request", "access", "exit"]].concat(), "{ended:?}");
}

/// With the header that modules came with: what its structs lack is zero.
#[test]
fn module_of_the_first_header_runs() {
    let header = fs::read_to_string(root().join("tests/abi/gateway-0.0.h")).expect("a header");
    assert!(!header.contains("post_fork"), "it is not the first header");
    hooks_run(&module_of("before", &header, &[]), &[]);
}

/// With headers to come: what is used of them decides.
#[test]
fn modules_of_newer_headers() {
    let last = "    gw_result (*worker_run)(void *ctx, const gw_worker *w);\n";
    let later = format!("{last}    void      (*later)(void *ctx);\n");
    let grown = header().replace(last, &later);
    assert_ne!(grown, header(), "the last hook has another name");
    // A hook that is NULL is missed by nobody.
    hooks_run(&module_of("grown", &grown, &[]), &["post_fork"]);
    let used = ["-DLATER=app_dropped"];
    let other = header().replace("#define GW_ABI 0 ", "#define GW_ABI 1 ");
    assert_ne!(other, header(), "GW_ABI is another");
    for (name, header, defines, sentence) in [
        ("used", &grown, &used[..], "hooks uses members that this version of the library does not"),
        ("other", &other, &[], "it was built for ABI 1 of libgateway, and this is ABI 0: build it"),
    ] {
        let module = module_of(name, header, defines);
        let ended = serve_module(&module).end();
        assert_eq!(ended.status, Some(4), "{ended:?}");
        assert!(ended.stderr.contains(&format!("load module {}", module.display())), "{ended:?}");
        assert!(ended.stderr.contains(sentence), "{ended:?}");
    }
}

/// The program that uses most of the interface.
#[test]
fn app_of_the_version_before_runs() {
    let program = compiled_before("app.c");
    let server = Server::start(&program, &["{}", "worker_model=inline"]);
    let mut client = server.connect();
    assert_eq!(client.get("/").text(), "hello, world\n");
    assert_eq!(client.get("/query?a=b").text(), "a=b");
    assert_eq!(client.get("/chunks?n=3&size=5").text(), "aaaaabbbbbccccc");
    assert_eq!(client.post("/echo", "a body").text(), "a body");
    assert_eq!(client.post("/lines", "one\ntwo").text(), "[one\n][two]");
    assert_eq!(client.get("/writing").text(), "one,two,three");
    assert_eq!(client.get("/values").text(), "first second ada -8 none");
    assert_eq!(client.get("/variable?name=REQUEST_METHOD").text(), "GET");
    assert_eq!(client.get("/fail").status, 500);
    server.signal(SIGTERM);
    assert_eq!(server.end().status, Some(0));
}
