//! The C ABI: what is exported, what the header says, and that the two are the same.
//!
//! The C sources that are compiled here are in `tests/abi/`.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use support::{compile_c, compile_cxx, include_dir, library, root, run, scratch_dir, write_source};

fn header() -> String {
    fs::read_to_string(include_dir().join("gateway.h")).expect("include/gateway.h")
}

/// What the shared library exports: (type, name) of every dynamic symbol it defines.
fn exported() -> BTreeSet<(String, String)> {
    let text = run(Command::new("nm").args(["-D", "--defined-only"]).arg(library()));
    let symbol = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        Some((words.next()?.to_string(), words.next()?.to_string()))
    };
    text.lines().filter_map(symbol).collect()
}

/// The header without comments.
fn code() -> String {
    let header = header();
    let mut out = String::new();
    let mut rest = header.as_str();
    while let Some((code, comment)) = rest.split_once("/*") {
        out += code;
        out += " ";
        rest = comment.split_once("*/").expect("comments end").1;
    }
    out + rest
}

/// The functions that the header declares: `gw_x(` at the left edge of a declaration.
fn declared() -> BTreeSet<String> {
    let code = code();
    let mut names = BTreeSet::new();
    for statement in code.split(';') {
        let line = statement.lines().rev().find(|line| !line.starts_with(' ')).unwrap_or_default();
        let Some((head, _)) = line.split_once('(') else { continue };
        let name = head.rsplit([' ', '*']).next().unwrap_or_default();
        if name.starts_with("gw_") && head.contains([' ', '*']) && !line.starts_with('#') {
            names.insert(name.to_string());
        }
    }
    names.remove("gw_init"); // The C++ template.
    names
}

#[test]
fn exports_are_the_golden_list() {
    let golden = root().join("tests/abi/symbols.txt");
    let names: Vec<String> = exported().into_iter().map(|(_, name)| name).collect();
    let text = fs::read_to_string(&golden).unwrap_or_default();
    let listed: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let missing: Vec<_> = listed.iter().filter(|name| !names.contains(&name.to_string())).collect();
    let added: Vec<_> = names.iter().filter(|name| !listed.contains(&name.as_str())).collect();
    assert!(
        missing.is_empty() && added.is_empty(),
        "{}: no longer exported: {missing:?}; exported and not listed: {added:?}",
        golden.display()
    );
}

#[test]
fn exports_are_functions_with_our_prefix() {
    for (kind, name) in exported() {
        assert_eq!(kind, "T", "{name}");
        assert!(name.starts_with("gw_"), "{name}");
    }
}

#[test]
fn the_header_declares_what_is_exported() {
    let exported: BTreeSet<String> = exported().into_iter().map(|(_, name)| name).collect();
    assert_eq!(declared(), exported);
}

#[test]
fn the_library_has_a_soname_and_is_never_unloaded() {
    let text = run(Command::new("readelf").args(["-d", "-W"]).arg(library()));
    let line = |tag: &str| text.lines().find(|line| line.contains(tag)).unwrap_or_default();
    assert!(line("(SONAME)").ends_with(&format!("[{}]", support::SONAME)), "{text}");
    assert!(line("(FLAGS_1)").contains("NODELETE"), "{text}");

    let abi =
        code().lines().find_map(|line| line.strip_prefix("#define GW_ABI ").map(str::to_string));
    let abi = abi.expect("GW_ABI is in the header");
    assert_eq!(support::SONAME, format!("libgateway.so.{}", abi.trim()));
}

#[test]
fn the_header_is_what_the_sources_say() {
    let rendered = Path::new(env!("OUT_DIR")).join("gateway.h");
    let rendered = fs::read_to_string(rendered).expect("build.rs renders the header");
    let committed = header();
    for (number, (is, should)) in committed.lines().zip(rendered.lines()).enumerate() {
        assert_eq!(is, should, "line {}: run GATEWAY_HEADER=update cargo check", number + 1);
    }
    assert_eq!(committed, rendered, "run GATEWAY_HEADER=update cargo check");
}

#[test]
fn the_header_keeps_to_its_form() {
    for (number, line) in header().lines().enumerate() {
        assert!(line.len() <= 79, "line {} is {} wide", number + 1, line.len());
        assert!(!line.ends_with(' ') && !line.contains('\t'), "line {}", number + 1);
    }
}

/// Macros, and what declarations put into the global name space.
#[test]
fn public_names_have_the_prefix() {
    let code = code();
    for line in code.lines() {
        let Some(rest) = line.trim_start_matches(['#', ' ']).strip_prefix("define ") else {
            continue;
        };
        assert!(rest.starts_with("GW_") || rest == "GATEWAY_H", "{line}");
    }
    for (at, _) in code.match_indices("typedef ") {
        let statement = &code[at..];
        let mut depth = 0;
        let end = statement.find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ';' && depth == 0
        });
        let statement = &statement[..end.expect("a typedef ends")];
        let name = match statement.split_once("(*").filter(|_| !statement.contains('{')) {
            Some((_, rest)) => rest,
            None => statement.rsplit([' ', '*']).next().unwrap_or_default(),
        };
        assert!(name.starts_with("gw_"), "{statement}");
    }
}

#[test]
fn the_header_compiles_alone() {
    let source = write_source("alone.c", "#include <gateway.h>\n");
    let out = scratch_dir().join("alone.o");
    for std in ["-std=c11", "-std=c17"] {
        compile_c(&source, &out, &["-c", std]);
    }
    for std in ["-std=c++11", "-std=c++17"] {
        compile_cxx(&source, &out, &["-c", std, "-Wold-style-cast"]);
    }
}

#[test]
fn sizes_and_offsets_stand() {
    let source = root().join("tests/abi/layout.c");
    compile_c(&source, &scratch_dir().join("layout.o"), &["-c"]);
    compile_cxx(&source, &scratch_dir().join("layout-cxx.o"), &["-c"]);

    // Every struct of the header is in the table.
    let table = fs::read_to_string(&source).expect("tests/abi/layout.c");
    for line in code().lines() {
        let Some(rest) = line.strip_prefix("typedef struct ") else { continue };
        let Some(name) = rest.trim_end().strip_suffix(" {") else { continue };
        assert!(table.contains(&format!("SIZE({name}, ")), "{name} is not in layout.c");
    }
}

#[test]
fn a_program_uses_the_header_in_c_and_in_cxx() {
    let source = root().join("tests/abi/uses.c");
    let (c, cxx) = (scratch_dir().join("uses"), scratch_dir().join("uses-cxx"));
    compile_c(&source, &c, &[]);
    compile_cxx(&source, &cxx, &[]);
    for program in [c, cxx] {
        assert_eq!(run(&mut Command::new(&program)), "ok\n", "{}", program.display());
    }
}

/// Mistakes get their codes, change nothing and leak nothing.
#[test]
fn misuse_is_an_error_code() {
    let program = scratch_dir().join("misuse");
    compile_c(&root().join("tests/abi/misuse.c"), &program, &[]);
    assert_eq!(run(&mut Command::new(&program)), "ok\n");

    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("no valgrind here: not looked for leaks");
        return;
    }
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["-q", "--error-exitcode=99", "--leak-check=full"]);
    valgrind.args(["--show-leak-kinds=definite,indirect"]);
    valgrind.args(["--errors-for-leak-kinds=definite,indirect"]);
    assert_eq!(run(valgrind.arg(&program)), "ok\n");
}
