//! `make install` and `make deb`, and programs that are built against what they leave: in C, in C++
//! and by CMake, with the shared and the static library, in an environment without Rust.
//!
//! Everything goes into directories below the scratch directory; nothing of the machine changes.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use support::{output, root, run, scratch_dir};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const MINOR: &str = env!("CARGO_PKG_VERSION_MINOR");

/// The minor version that is `more` ahead; before 1.0 it need not be compatible.
fn series(more: u32) -> String {
    format!("0.{}", MINOR.parse::<u32>().expect("a number") + more)
}

/// What `tests/install/client.c` prints.
fn answer() -> String {
    format!("HTTP/1.1 200 OK, installed\n{VERSION}\n")
}

/// Everything that a C programmer's shell finds in these tests; no cargo, no rustc.
const TOOLS: [&str; 26] = [
    "ar",
    "as",
    "c++",
    "cat",
    "cc",
    "cmake",
    "cp",
    "g++",
    "gcc",
    "ld",
    "make",
    "mkdir",
    "mv",
    "nm",
    "objcopy",
    "objdump",
    "pkg-config",
    "ranlib",
    "readelf",
    "rm",
    "sed",
    "sh",
    "strip",
    "touch",
    "uname",
    "env",
];

/// An empty directory of this name.
fn fresh(name: &str) -> PathBuf {
    let dir = scratch_dir().join(name);
    let _ = fs::remove_dir_all(&dir);
    fs::create_dir_all(&dir).expect("create a directory");
    dir
}

/// A directory with links to [`TOOLS`], to be all of PATH.
fn tools() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = fresh("tools");
        for tool in TOOLS {
            let path = run(Command::new("sh").args(["-c", &format!("command -v {tool}")]));
            symlink(path.trim(), dir.join(tool)).expect("link a tool");
        }
        dir
    })
}

/// A command that sees the tools, and nothing of what cargo told this test.
fn outside(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", tools()).env("HOME", "/nonexistent").env("LC_ALL", "C");
    command
}

/// `make` in the project, as a user calls it, with the Rust that is there.
fn make(args: &[&str]) -> String {
    let mut command = Command::new("make");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let ours = ["CARGO_HOME", "CARGO_TARGET_DIR", "CARGO_BUILD_JOBS", "CARGO_NET_OFFLINE"];
        if !ours.contains(&&*text)
            && ["CARGO", "MAKE", "MFLAGS", "LD_LIBRARY_PATH", "GATEWAY_"]
                .iter()
                .any(|prefix| text.starts_with(prefix))
        {
            command.env_remove(&name);
        }
    }
    // Of these what a test asks for, and not what happens to have been built.
    command.arg("PYTHON_MODULE=");
    if !args.contains(&"nginx-module") {
        command.arg("NGINX_MODULE=");
    }
    run(command.arg("-C").arg(root()).args(args))
}

/// The prefix into which `make install` went, once for all tests.
fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let dir = fresh("prefix");
        make(&["install", &format!("PREFIX={}", dir.display())]);
        dir
    })
}

/// All files and links below a directory; a link with where it points.
fn files(dir: &Path) -> BTreeSet<String> {
    fn walk(dir: &Path, top: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).expect("read a directory") {
            let path = entry.expect("an entry").path();
            let name = path.strip_prefix(top).expect("below the top").display().to_string();
            if let Ok(target) = fs::read_link(&path) {
                found.insert(format!("{name} -> {}", target.display()));
            } else if path.is_dir() {
                walk(&path, top, found);
            } else {
                found.insert(name);
            }
        }
    }
    let mut found = BTreeSet::new();
    walk(dir, dir, &mut found);
    found
}

/// Where shells look for those of the command.
const COMPLETIONS: [&str; 3] = [
    "share/bash-completion/completions/gateway",
    "share/fish/vendor_completions.d/gateway.fish",
    "share/zsh/site-functions/_gateway",
];

/// What is installed, with `lib`, `include` and `man` as the directories are called.
fn expected(lib: &str, include: &str, man: &str) -> BTreeSet<String> {
    let mut files: BTreeSet<String> = [
        format!("{lib}/libgateway.so.{VERSION}"),
        format!("{lib}/libgateway.so.0 -> libgateway.so.{VERSION}"),
        format!("{lib}/libgateway.so -> libgateway.so.0"),
        format!("{lib}/libgateway.a"),
        format!("{lib}/pkgconfig/gateway.pc"),
        format!("{lib}/cmake/gateway/gateway-config.cmake"),
        format!("{lib}/cmake/gateway/gateway-config-version.cmake"),
        format!("{include}/gateway.h"),
    ]
    .into();
    files.extend(layer().iter().map(|header| format!("{include}/{header}")));
    let prefix = lib.rsplit_once('/').map_or(String::new(), |(prefix, _)| format!("{prefix}/"));
    let command = COMPLETIONS.iter().chain(&["bin/gateway"]);
    files.extend(command.map(|name| format!("{prefix}{name}")));
    files.extend(manual().iter().map(|page| format!("{man}/{page}")));
    files
}

/// The headers for C++: `gateway.hpp`, and those that it includes.
fn layer() -> BTreeSet<String> {
    let headers = files(&root().join("bindings/cpp/include"));
    assert!(headers.contains("gateway.hpp") && headers.len() > 10, "{headers:?}");
    headers
}

/// The pages of the manual, `man3/gw_read.3`: one for each name that `docs/man` has in NAME.
fn manual() -> BTreeSet<String> {
    let mut pages = BTreeSet::from(["man1/gateway.1".to_owned()]);
    for entry in fs::read_dir(root().join("docs/man")).expect("docs/man") {
        let path = entry.expect("an entry").path();
        if path.ends_with("gateway.1") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a page");
        let (_, name) = text.split_once("\n.Sh NAME\n").expect("a section NAME");
        let (name, _) = name.split_once("\n.Nd ").expect("a line of description");
        let section = path.extension().expect("a section").to_string_lossy();
        for line in name.lines() {
            let name = line.trim_start_matches(".Nm ").trim_end_matches(" ,");
            pages.insert(format!("man{section}/{name}.{section}"));
        }
    }
    assert!(pages.len() > 70, "{pages:?}");
    pages
}

/// `pkg-config ARGS gateway`, as words.
fn pkg_config(prefix: &Path, args: &[&str]) -> Vec<String> {
    let mut command = outside("pkg-config");
    command.env("PKG_CONFIG_LIBDIR", prefix.join("lib/pkgconfig")).args(args).arg("gateway");
    run(&mut command).split_whitespace().map(str::to_owned).collect()
}

/// The libraries that a program asks the dynamic linker for.
fn needed(program: &Path) -> String {
    let text = run(outside("readelf").args(["-d", "-W"]).arg(program));
    text.lines().filter(|line| line.contains("(NEEDED)")).collect()
}

#[test]
fn there_is_no_rust_outside() {
    for tool in ["cargo", "rustc", "rustup"] {
        let find = output(outside("sh").args(["-c", &format!("command -v {tool}")]));
        assert!(!find.status.success(), "{tool}: {find:?}");
    }
}

#[test]
fn install_leaves_what_it_should() {
    assert_eq!(files(prefix()), expected("lib", "include", "share/man"));
    let mode = |name: &str| {
        let data = fs::metadata(prefix().join(name)).expect("an installed file");
        data.permissions().mode() & 0o777
    };
    assert_eq!(mode("lib/libgateway.so"), 0o755);
    for name in ["lib/libgateway.a", "include/gateway.h", "lib/pkgconfig/gateway.pc"] {
        assert_eq!(mode(name), 0o644, "{name}");
    }
    let soname = run(outside("readelf").args(["-d", "-W"]).arg(prefix().join("lib/libgateway.so")));
    assert!(soname.contains("[libgateway.so.0]"), "{soname}");
    for name in
        expected("lib", "include", "share/man").iter().filter(|name| name.contains("gateway.pc"))
    {
        let text = fs::read_to_string(prefix().join(name)).expect("a text");
        assert!(!text.contains('@'), "{name} has a place that was not filled:\n{text}");
    }
}

/// DESTDIR is where the files go, and nothing that they say; uninstall takes all of it away.
#[test]
fn install_goes_below_destdir_and_uninstall_leaves_nothing() {
    let dest = fresh("dest");
    let args = [
        format!("DESTDIR={}", dest.display()),
        "PREFIX=/opt/gw".to_owned(),
        "LIBDIR=/opt/gw/lib64".to_owned(),
        "INCLUDEDIR=/opt/gw/include/gw".to_owned(),
        "MANDIR=/opt/gw/man".to_owned(),
    ];
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    make(&[&["install"], &args[..]].concat());
    assert_eq!(files(&dest), expected("opt/gw/lib64", "opt/gw/include/gw", "opt/gw/man"));
    for file in files(&dest).iter().filter(|f| f.ends_with(".pc") || f.ends_with(".cmake")) {
        let text = fs::read_to_string(dest.join(file)).expect("a text");
        assert!(!text.contains(dest.to_str().expect("a plain path")), "{file} names DESTDIR");
    }
    let pc = fs::read_to_string(dest.join("opt/gw/lib64/pkgconfig/gateway.pc")).expect("a text");
    assert!(pc.contains("libdir=/opt/gw/lib64\nincludedir=/opt/gw/include/gw\n"), "{pc}");

    // What others have put there stays.
    fs::write(dest.join("opt/gw/lib64/pkgconfig/other.pc"), "").expect("write a file");
    make(&[&["uninstall"], &args[..]].concat());
    assert_eq!(files(&dest), BTreeSet::from(["opt/gw/lib64/pkgconfig/other.pc".to_owned()]));
    assert!(!dest.join("opt/gw/lib64/cmake").exists());
    assert!(!dest.join("opt/gw/man/man3").exists());
    assert!(!dest.join("opt/gw/share").exists());
}

/// nginx's module goes below the same prefix, with a file that loads it; that nginx then has its
/// directives, and the library.
#[test]
fn nginx_finds_its_module_where_it_was_installed() {
    let dir = fresh("nginx-prefix");
    let prefix = format!("PREFIX={}", dir.display());
    make(&["nginx-module", &prefix]);
    make(&["nginx-module", "install", &prefix]);
    let snippet = dir.join("share/gateway/nginx/mod-http-gateway.conf");
    let conf = dir.join("nginx.conf");
    let text = format!(
        "include {};\nerror_log stderr;\nevents {{}}\nhttp {{ gateway_threads nought; }}\n",
        snippet.display()
    );
    fs::write(&conf, text).expect("write a configuration");
    let mut nginx = Command::new("sh");
    let peers = root().join(std::env::var("CARGO_TARGET_DIR").unwrap_or("target".to_owned()));
    let path = format!("{}:/usr/sbin:{}/peers/usr/sbin", env!("PATH"), peers.display());
    let said = output(
        nginx
            .args(["-c", "exec nginx -t -e stderr -c \"$0\" -p \"$1\""])
            .arg(&conf)
            .arg(&dir)
            .env("PATH", path)
            .env_remove("LD_LIBRARY_PATH"),
    );
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.contains("nought") && said.contains("nginx.conf:4"), "{said}");
    make(&["uninstall", &prefix]);
    assert_eq!(files(&dir), BTreeSet::from(["nginx.conf".to_owned()]));
}

/// `man gw_read_all`: each function has a page of its name, which is, or names, the one about it.
#[test]
fn every_function_has_a_page() {
    let man = prefix().join("share/man");
    let symbols = fs::read_to_string(root().join("tests/abi/symbols.txt")).expect("the symbols");
    for name in symbols.lines().filter(|line| !line.starts_with('#')) {
        let path = man.join(format!("man3/{name}.3"));
        let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let text = match text.strip_prefix(".so ") {
            Some(other) => fs::read_to_string(man.join(other.trim())).expect("another page"),
            None => text,
        };
        assert!(text.contains(&format!("\n.Nm {name}")), "{} is not about it", path.display());
    }
}

/// Without a build, and where nobody can be asked for one.
#[test]
fn install_says_what_is_missing() {
    let empty = fresh("empty");
    let script = root().join("scripts/install");
    let mut install = Command::new("sh");
    let ended = output(install.arg(&script).arg(&empty).env("PREFIX", fresh("nothing")));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("run make"), "{said}");
    assert!(files(&scratch_dir().join("nothing")).is_empty());

    let ended = output(Command::new("sh").arg(&script).arg(&empty).env("PREFIX", "relative"));
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && said.contains("absolute"), "{said}");
}

/// It finds the library beside itself, and serves a module that is built against what is installed.
#[test]
fn the_command_works_where_it_is_installed() {
    let site = fresh("served");
    let module = site.join("greeter.so");
    let flags = pkg_config(prefix(), &["--cflags", "--libs"]);
    let source = root().join("examples/module.c");
    let mut build = outside("cc");
    run(build.args(["-shared", "-fPIC"]).arg(source).arg("-o").arg(&module).args(flags));
    let file = site.join("app.toml");
    fs::write(&file, "module = './greeter.so'\nbind = ':0'\n").expect("write a file");
    let mut check = outside(prefix().join("bin/gateway"));
    let said = run(check.arg("check").arg(&file));
    assert!(said.ends_with("app.toml: no problem\n"), "{said}");
}

/// By pkg-config: the shared library, the static one beside shared ones, and a static program.
#[test]
fn pkg_config_builds_c_and_cxx() {
    let lib = prefix().join("lib");
    let dir = fresh("pkg-config");
    assert_eq!(
        run(outside("pkg-config").args(["--modversion"]).arg(lib.join("pkgconfig/gateway.pc"))),
        format!("{VERSION}\n")
    );
    let source = root().join("tests/install/client.c");
    let flags = pkg_config(prefix(), &["--cflags"]);
    let shared = pkg_config(prefix(), &["--libs"]);
    let private = pkg_config(prefix(), &["--static", "--libs"]);
    assert_eq!(shared, [format!("-L{}", lib.display()), "-lgateway".to_owned()]);
    assert!(private.len() > shared.len(), "{private:?}");
    // What a user does who has both libraries and wants this one.
    let archive: Vec<String> = private
        .iter()
        .map(|word| if word == "-lgateway" { "-l:libgateway.a".to_owned() } else { word.clone() })
        .collect();

    for (compiler, language) in [("cc", ["-std=c11", "-xc"]), ("c++", ["-std=c++11", "-xc++"])] {
        let kinds: [(&str, &[&str], &[String]); 3] = [
            ("shared", &[], &shared),
            ("archive", &[], &archive),
            ("static", &["-static"], &private),
        ];
        for (kind, extra, libs) in kinds {
            let program = dir.join(format!("{compiler}-{kind}"));
            let mut build = outside(compiler);
            build.args(language).args(support::STRICT).args(&flags).arg(&source);
            build.args(["-xnone", "-o"]).arg(&program).args(extra).args(libs);
            run(&mut build);

            let needed = needed(&program);
            assert_eq!(needed.contains("libgateway"), kind == "shared", "{kind}: {needed}");
            assert!(kind != "static" || needed.is_empty(), "{needed}");
            let mut start = outside(&program);
            if kind == "shared" {
                assert!(!output(&mut start).status.success(), "another libgateway.so.0 was found");
                start.env("LD_LIBRARY_PATH", &lib);
            }
            assert_eq!(run(&mut start), answer(), "{compiler} {kind}");
        }
    }
}

/// By `find_package`: both targets, C and C++.
#[test]
fn cmake_builds_c_and_cxx() {
    let dir = fresh("cmake");
    configure(prefix(), &dir, &series(0)).expect("find_package finds it");
    run(outside("cmake").arg("--build").arg(&dir));
    for language in ["c", "cxx"] {
        for kind in ["gateway", "gateway_static"] {
            let program = dir.join(format!("{language}-{kind}"));
            let needed = needed(&program);
            assert_eq!(needed.contains("[libgateway.so.0]"), kind == "gateway", "{needed}");
            assert_eq!(run(&mut outside(&program)), answer(), "{language}-{kind}");
        }
    }
}

/// CMake accepts what is compatible: this minor version, and not a newer patch.
#[test]
fn cmake_refuses_other_versions() {
    configure(prefix(), &fresh("cmake-exact"), &format!("{VERSION};EXACT")).expect("this version");
    configure(prefix(), &fresh("cmake-any"), "").expect("any version");
    let others =
        [format!("{}.999", series(0)), series(1), series(10), "1.0".into(), "0.0.9".into()];
    for wanted in &others {
        let said = configure(prefix(), &fresh("cmake-other"), wanted).expect_err(wanted);
        assert!(said.contains("version"), "{said}");
    }
}

/// A tree that was moved after its installation.
#[test]
fn cmake_follows_a_moved_tree() {
    let moved = fresh("moved").join("here");
    run(Command::new("cp").arg("-a").arg(prefix()).arg(&moved));
    let dir = fresh("cmake-moved");
    configure(&moved, &dir, &series(0)).expect("find_package finds it");
    run(outside("cmake").arg("--build").arg(&dir).args(["--target", "c-gateway"]));
    let maps = run(outside("readelf").args(["-d", "-W"]).arg(dir.join("c-gateway")));
    assert!(maps.contains(moved.to_str().expect("a plain path")), "{maps}");
    assert_eq!(run(&mut outside(dir.join("c-gateway"))), answer());
}

fn configure(prefix: &Path, build: &Path, wanted: &str) -> Result<(), String> {
    let ended = output(
        outside("cmake")
            .arg("-S")
            .arg(root().join("tests/install"))
            .arg("-B")
            .arg(build)
            .args(["-G", "Unix Makefiles", &format!("-DWANTED={wanted}")])
            .arg(format!("-DCMAKE_PREFIX_PATH={}", prefix.display())),
    );
    match ended.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&ended.stderr).into_owned()),
    }
}

// ---- the packages ----

/// The packages, made once: the library, what is needed to link it, the command.
fn packages() -> &'static [PathBuf; 3] {
    static PACKAGES: OnceLock<[PathBuf; 3]> = OnceLock::new();
    PACKAGES.get_or_init(|| {
        let said = make(&["--no-print-directory", "deb"]);
        let paths: Vec<PathBuf> =
            said.lines().filter(|line| line.ends_with(".deb")).map(PathBuf::from).collect();
        paths.try_into().expect("three packages")
    })
}

/// What `dpkg-deb -c` lists, without directories: mode, owner, name.
fn contents(package: &Path) -> Vec<(String, String, String)> {
    let listing = run(Command::new("dpkg-deb").arg("-c").arg(package));
    let mut entries = Vec::new();
    for line in listing.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[1], "root/root", "{line}");
        if !words[0].starts_with('d') {
            entries.push((words[0].to_owned(), words[2].to_owned(), words[5..].join(" ")));
        } else {
            assert_eq!(words[0], "drwxr-xr-x", "{line}");
        }
    }
    entries.sort_by(|a, b| a.2.cmp(&b.2));
    entries
}

fn field(package: &Path, name: &str) -> String {
    run(Command::new("dpkg-deb").arg("-f").arg(package).arg(name)).trim().to_owned()
}

fn multiarch() -> String {
    run(Command::new("dpkg-architecture").arg("-qDEB_HOST_MULTIARCH")).trim().to_owned()
}

#[test]
fn packages_contain_what_they_should() {
    let lib = format!("./usr/lib/{}", multiarch());
    let names = |package: &Path| {
        let entries = contents(package).into_iter();
        entries.map(|(mode, _, name)| format!("{mode} {name}")).collect::<Vec<_>>()
    };
    let [run_time, development, command] = packages();
    let mut files: Vec<_> = COMPLETIONS.iter().map(|it| format!("-rw-r--r-- ./usr/{it}")).collect();
    files.extend([
        "-rwxr-xr-x ./usr/bin/gateway".to_owned(),
        "-rw-r--r-- ./usr/share/doc/libgateway-bin/copyright".to_owned(),
        "-rw-r--r-- ./usr/share/man/man1/gateway.1.gz".to_owned(),
    ]);
    files.sort_by_key(|it| it.split_once(' ').map(|it| it.1.to_owned()));
    assert_eq!(names(command), files);
    assert_eq!(
        names(run_time),
        [
            format!("lrwxrwxrwx {lib}/libgateway.so.0 -> libgateway.so.{VERSION}"),
            format!("-rw-r--r-- {lib}/libgateway.so.{VERSION}"),
            "-rw-r--r-- ./usr/share/doc/libgateway0/copyright".to_owned(),
        ]
    );
    let mut files = vec!["-rw-r--r-- ./usr/include/gateway.h".to_owned()];
    files.extend(layer().iter().map(|header| format!("-rw-r--r-- ./usr/include/{header}")));
    files.extend([
        format!("-rw-r--r-- {lib}/cmake/gateway/gateway-config-version.cmake"),
        format!("-rw-r--r-- {lib}/cmake/gateway/gateway-config.cmake"),
        format!("-rw-r--r-- {lib}/libgateway.a"),
        format!("lrwxrwxrwx {lib}/libgateway.so -> libgateway.so.0"),
        format!("-rw-r--r-- {lib}/pkgconfig/gateway.pc"),
        "-rw-r--r-- ./usr/share/doc/libgateway-dev/copyright".to_owned(),
    ]);
    let pages = manual().into_iter().filter(|page| page != "man1/gateway.1");
    files.extend(pages.map(|page| format!("-rw-r--r-- ./usr/share/man/{page}.gz")));
    assert_eq!(names(development), files);
}

#[test]
fn packages_say_what_they_are() {
    let [run_time, development, command] = packages();
    let arch = run(Command::new("dpkg").arg("--print-architecture"));
    for (package, name, section) in [
        (run_time, "libgateway0", "libs"),
        (development, "libgateway-dev", "libdevel"),
        (command, "libgateway-bin", "httpd"),
    ] {
        assert_eq!(field(package, "Package"), name);
        assert_eq!(field(package, "Version"), VERSION);
        assert_eq!(field(package, "Section"), section);
        assert_eq!(field(package, "Architecture"), arch.trim());
        assert_eq!(field(package, "Source"), "libgateway");
        let multi_arch = if name == "libgateway-bin" { "foreign" } else { "same" };
        assert_eq!(field(package, "Multi-Arch"), multi_arch);
        assert!(field(package, "Maintainer").contains('@'));
        assert!(field(package, "Installed-Size").parse::<u32>().is_ok_and(|size| size > 100));
        assert!(field(package, "Description").contains("WSGI"));
        let file = format!("{name}_{VERSION}_{}.deb", arch.trim());
        assert_eq!(package.file_name().and_then(|f| f.to_str()), Some(file.as_str()));
    }
    let depends = field(run_time, "Depends");
    assert!(depends.contains("libc6 (>= ") && depends.contains("libgcc-s1"), "{depends}");
    assert_eq!(field(development, "Depends"), format!("libgateway0 (= {VERSION})"));
    let depends = field(command, "Depends");
    assert!(depends.starts_with(&format!("libgateway0 (= {VERSION}), ")), "{depends}");
    assert!(depends.contains("libc6 (>= "), "{depends}");

    let control = |name: &str| run(Command::new("dpkg-deb").arg("-I").arg(run_time).arg(name));
    assert_eq!(control("triggers"), "activate-noawait ldconfig\n");
    assert_eq!(
        control("shlibs"),
        format!("libgateway 0 libgateway0 (>= {VERSION}), libgateway0 (<< {})\n", series(1))
    );
    assert!(control("md5sums").contains(&format!("libgateway.so.{VERSION}")));
}

/// Unpacked, both packages are a tree to build against; what was stripped is not missed.
#[test]
fn packages_unpack_to_something_that_works() {
    let tree = fresh("unpacked");
    for package in packages() {
        run(Command::new("dpkg-deb").arg("-x").arg(package).arg(&tree));
    }
    let lib = tree.join("usr/lib").join(multiarch());
    let sums = run(Command::new("dpkg-deb").arg("-I").arg(&packages()[0]).arg("md5sums"));
    fs::write(tree.join("sums"), sums).expect("write a file");
    run(Command::new("md5sum").args(["-c", "--quiet", "sums"]).current_dir(&tree));

    let program = tree.join("client");
    let mut flags = outside("pkg-config");
    flags.env("PKG_CONFIG_LIBDIR", lib.join("pkgconfig")).env("PKG_CONFIG_SYSROOT_DIR", &tree);
    let flags = run(flags.args(["--cflags", "--libs", "gateway"]));
    let source = root().join("tests/install/client.c");
    let mut build = outside("cc");
    run(build.arg(&source).arg("-o").arg(&program).args(flags.split_whitespace()));
    assert_eq!(run(outside(&program).env("LD_LIBRARY_PATH", &lib)), answer());

    let command = tree.join("usr/bin/gateway");
    let version = run(outside(command).arg("--version").env("LD_LIBRARY_PATH", &lib));
    assert_eq!(version, format!("gateway {VERSION}\n"));

    let dir = fresh("cmake-unpacked");
    configure(&tree.join("usr"), &dir, &series(0)).expect("find_package finds it");
    run(outside("cmake").arg("--build").arg(&dir).args(["--target", "c-gateway_static"]));
    assert_eq!(run(&mut outside(dir.join("c-gateway_static"))), answer());
}
