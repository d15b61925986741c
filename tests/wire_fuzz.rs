//! The fuzz targets, for a while, with a stable compiler: the corpus, and mutations of it.

#[path = "../fuzz/bodies.rs"]
mod bodies;
mod twin;
mod wire_support;

use std::path::Path;

use wire_support::Random;

/// Octets that a mutation puts in.
const OCTETS: &[u8] = b"\r\n\r\n \t:;,\"\\=%#?/*@[]\0\x7f\x80019aAfFzZ-+";
/// Mutations of each file: some seconds' worth.
const ROUNDS: u64 = 3000;

fn run(target: &str, body: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .expect("the corpus is part of the source")
        .map(|entry| entry.expect("a file").path())
        .collect();
    files.sort();
    assert!(files.len() >= 8, "{} has seeds", folder.display());
    let seeds: Vec<Vec<u8>> =
        files.iter().map(|file| std::fs::read(file).expect("readable")).collect();
    for (at, seed) in seeds.iter().enumerate() {
        body(seed);
        for round in 1..=ROUNDS {
            let mut random = Random(round * 1000 + at as u64);
            let mut octets = seed.clone();
            for _ in 0..=random.below(4) {
                mutate(&mut octets, &seeds, &mut random);
            }
            body(&octets);
        }
    }
}

fn mutate(octets: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    let at = random.below(octets.len() + 1);
    let end = (at + 1 + random.below(8)).min(octets.len());
    match random.below(6) {
        0 => octets.truncate(at),
        1 => drop(octets.drain(at..end)),
        2 => octets.insert(at, OCTETS[random.below(OCTETS.len())]),
        3 if at < octets.len() => octets[at] = OCTETS[random.below(OCTETS.len())],
        4 if at < octets.len() => octets[at] ^= 1 << random.below(8),
        _ => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            let to = (from + random.below(24)).min(other.len());
            octets.splice(at..at, other[from..to].iter().copied());
        }
    }
}

#[test]
fn http1_head() {
    run("http1_head", bodies::http1_head);
}

#[test]
fn http1_body() {
    run("http1_body", bodies::http1_body);
}

#[test]
fn uwsgi() {
    run("uwsgi", bodies::uwsgi);
}

#[test]
fn scgi() {
    run("scgi", bodies::scgi);
}

#[test]
fn fastcgi() {
    run("fastcgi", bodies::fastcgi);
}

#[test]
fn proxy() {
    run("proxy", bodies::proxy);
}

#[test]
fn forwarded() {
    run("forwarded", bodies::forwarded);
}

#[test]
fn opening() {
    run("opening", bodies::opening);
}

#[test]
fn conditional() {
    run("conditional", bodies::conditional);
}

#[test]
fn traces() {
    run("traces", bodies::traces);
}
