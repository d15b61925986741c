//! `tests/c/again.c`, its releases, and the processes of servers that start others.

use std::path::{Path, PathBuf};

/// Whether the process has not ended.
pub fn lives(pid: i32) -> bool {
    let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !state.is_empty() && !state.contains(") Z ")
}

pub fn again() -> PathBuf {
    super::program(&["tests/c/again.c"])
}

/// A copy of the program that says that it is of another release.
pub fn release(number: u8, to: &Path) {
    let mut octets = std::fs::read(again()).unwrap();
    let text = b"release-1";
    let at = octets.windows(text.len()).position(|it| it == text).unwrap();
    octets[at + text.len() - 1] = b'0' + number;
    put(to, &octets);
}

/// As an installer does: nobody sees a half of it.  By other processes: while this one has a program
/// open to write it, a child of another thread may, too, and then it cannot be run.
pub fn put(to: &Path, octets: &[u8]) {
    let [fresh, raw] = ["fresh", "raw"].map(|it| to.with_extension(it));
    std::fs::write(&raw, octets).unwrap();
    let script = "cp \"$1\" \"$2\" && chmod 755 \"$2\" && mv \"$2\" \"$3\" && rm \"$1\"";
    let mut shell = std::process::Command::new("sh");
    super::support::run(shell.args(["-c", script, "put"]).args([&raw, &fresh]).arg(to));
}

/// A directory of its own.
pub fn dir(name: &str) -> PathBuf {
    let dir = super::support::scratch_dir().join(format!("again-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Whatever thread started them.
pub fn processes_of(pid: i32) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let numbers = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let parent = |child: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        let rest = stat.rsplit_once(") ")?.1.to_owned();
        rest.split(' ').nth(1)?.parse::<i32>().ok()
    };
    numbers.filter(|child| parent(child) == Some(pid)).collect()
}
