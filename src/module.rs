//! Application modules before they serve: one is tried in a process that is thrown away, so that a
//! broken one is an error before anything is started, and this process keeps nothing of it.

use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

use crate::base::error::{Error, Kind, Result};
use crate::sys::proc::{self, Exit};
use crate::sys::signal;

/// The exit status of what did not live to say why: gunicorn's, for a worker that does not boot.
const BOOT_ERROR: i32 = 3;

/// How long a thread that was joined may linger in /proc.
const LINGER: Duration = Duration::from_millis(100);

/// Runs `load` in a child process, which ends then, and says what came of it.
///
/// Where there are threads nothing is tried: `load` might wait for ever for a lock that one of them
/// holds.  An arbiter refuses to start there, or its workers say what is wrong.
///
/// # Errors
/// That of `load`; with the exit status 3, when the process did not live to tell.
pub(crate) fn try_in_child(load: impl FnOnce() -> Result<()>) -> Result<()> {
    if proc::thread_count(LINGER).is_some_and(|threads| threads > 1) {
        return Ok(());
    }
    let os = |error| Error::os("try the module in a process of its own", &error);
    let (read, write) = proc::pipe().map_err(os)?;
    let parent = proc::pid();
    let child = proc::fork_with(|mask| {
        if proc::is_main_thread() && !proc::die_with_parent(parent) {
            return 0;
        }
        mask.restore();
        let told = File::from(write).write_all(&record(&load()));
        i32::from(told.is_err())
    });
    let child = child.map_err(os)?;
    let said = read_record(File::from(read));
    let exit = proc::wait_for(child);
    said.unwrap_or_else(|| Err(died(exit)))
}

fn died(exit: Exit) -> Error {
    let how = match exit {
        Exit::Code(status) => format!("exited with status {status}"),
        Exit::Signal(number) => format!("was killed by {}", signal::name(number)),
        Exit::Unknown => "ended, and somebody else waited for it".into(),
    };
    let text = format!("load the application's module: the process that tried it {how}");
    Error::new(Kind::App, text).with_exit_status(BOOT_ERROR)
}

/// What came of it, for another process: four numbers, and the sentence.
fn record(outcome: &Result<()>) -> Vec<u8> {
    let (numbers, text) = match outcome {
        Ok(()) => ([0, 0, 0], ""),
        Err(e) => ([e.kind() as i32, e.os_errno(), e.exit_status()], e.message()),
    };
    let mut record: Vec<u8> = numbers.into_iter().flat_map(i32::to_ne_bytes).collect();
    record.extend(u32::try_from(text.len()).unwrap_or(0).to_ne_bytes());
    record.extend(text.as_bytes());
    record
}

/// None: it is not whole.  What follows is not waited for: another process may have the pipe, too.
fn read_record(mut from: impl Read) -> Option<Result<()>> {
    let mut number = || -> Option<[u8; 4]> {
        let mut octets = [0; 4];
        from.read_exact(&mut octets).ok()?;
        Some(octets)
    };
    let [kind, errno, status] = [number()?, number()?, number()?].map(i32::from_ne_bytes);
    let mut text = vec![0; u32::from_ne_bytes(number()?) as usize];
    from.read_exact(&mut text).ok()?;
    if kind == 0 {
        return Some(Ok(()));
    }
    let error = Error::new(Kind::from_code(kind)?, String::from_utf8(text).ok()?);
    Some(Err(error.with_os_errno(errno).with_exit_status(status)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_of_it_comes_through() {
        assert!(matches!(read_record(&*record(&Ok(()))), Some(Ok(()))));
        let error = Error::new(Kind::Abi, "why \u{e9}").with_os_errno(2).with_exit_status(4);
        let read = read_record(&*record(&Err(error))).unwrap().unwrap_err();
        assert_eq!((read.kind(), read.message()), (Kind::Abi, "why \u{e9}"));
        assert_eq!((read.os_errno(), read.exit_status()), (2, 4));
    }

    #[test]
    fn what_is_cut_is_not_read() {
        let whole = record(&Err(Error::new(Kind::App, "why")));
        for len in 0..whole.len() {
            assert!(read_record(&whole[..len]).is_none(), "{len}");
        }
    }
}
