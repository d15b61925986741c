use std::fs::File;
use std::io::{Read, pipe};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use super::*;

fn clock() -> LocalTime {
    LocalTime::utc(1_795_250_076_000_000_000)
}

type Said = (Level, String, String, String);

/// A logger and what it said: level, target, id, message.
fn collector(level: Level) -> (Logger, Arc<Mutex<Vec<Said>>>) {
    let records = Arc::new(Mutex::new(Vec::new()));
    let kept = records.clone();
    let callback = move |r: &Record<'_>| {
        let said = (r.level, r.target.into(), r.request_id.into(), r.message.into());
        kept.lock().unwrap().push(said);
    };
    (Logger::new(level, clock, Sink::Callback(Box::new(callback))), records)
}

fn messages(records: &Mutex<Vec<Said>>) -> Vec<String> {
    records.lock().unwrap().iter().map(|said| said.3.clone()).collect()
}

/// What a logger writes to a descriptor.
fn written(level: Level, say: impl FnOnce(&Logger)) -> String {
    let (mut reader, writer) = pipe().unwrap();
    let file = File::from(OwnedFd::from(writer));
    let logger = Logger::new(level, clock, Sink::File(file.into()));
    say(&logger);
    assert_eq!(logger.lost(), 0);
    drop(logger);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_line_has_time_process_level_and_request() {
    let text = written(Level::Debug, |logger| {
        log!(logger, Info, "arbiter", "listening at {}", "127.0.0.1:8000");
        log!(logger, Warn, "http", ["r-1"], "slow");
        log!(logger, Error, "app", ["r-2"], "gone");
        log!(logger, Debug, "app", "detail");
    });
    let pid = std::process::id();
    let at = "[2026-11-21 08:34:36 +0000]";
    assert_eq!(
        text,
        format!(
            "{at} [{pid}] [INFO] listening at 127.0.0.1:8000\n\
             {at} [{pid}] [WARNING] [r-1] slow\n\
             {at} [{pid}] [ERROR] [r-2] gone\n\
             {at} [{pid}] [DEBUG] detail\n"
        )
    );
}

#[test]
fn the_level_filters_before_anything_is_evaluated() {
    let (logger, records) = collector(Level::Warn);
    let mut evaluated = 0;
    let mut text = || {
        evaluated += 1;
        "x"
    };
    log!(logger, Info, "t", "{}", text());
    log!(logger, Warn, "t", "{}", text());
    logger.write(Level::Debug, "t", "", format_args!("no"));
    assert_eq!(evaluated, 1);
    assert_eq!(messages(&records), ["x"]);
}

#[test]
fn a_logger_that_is_off_takes_nothing() {
    for logger in
        [Logger::off(), Logger::default(), Logger::new(Level::Debug, clock, Sink::Nothing)]
    {
        assert!(!Level::ALL.into_iter().any(|level| logger.enabled(level)));
        logger.write(Level::Error, "t", "", format_args!("no"));
    }
}

#[test]
fn a_callback_gets_the_record() {
    let (logger, records) = collector(Level::Info);
    let clone = logger.clone();
    log!(clone, Info, "http", ["id\n7"], "one {}", 1);
    log!(logger, Error, "app", "two");
    assert_eq!(
        *records.lock().unwrap(),
        [
            (Level::Info, "http".into(), "id\\n7".into(), "one 1".into()),
            (Level::Error, "app".into(), "".into(), "two".into()),
        ]
    );
}

#[test]
fn one_record_is_one_line_whatever_it_says() {
    let (logger, records) = collector(Level::Info);
    for text in ["a\nb\r\tc", "\x1b[31m\0\x7f", "\u{85}\u{9b}é\\", ""] {
        log!(logger, Info, "t", "{text}");
    }
    logger.write_octets(Level::Info, "t", "", b"caf\xe9 \xc3\xa9\n\n");
    logger.write_octets(Level::Info, "t", "", b"\n[x] forged\r\n");
    let mut said = messages(&records);
    assert_eq!(
        said,
        ["a\\nb\\r\\tc", "\\x1b[31m\\x00\\x7f", "\\x85\\x9bé\\", "", "caf\\xe9 é", "\\n[x] forged"]
    );
    said.retain(|message| message.chars().any(char::is_control));
    assert!(said.is_empty());
}

#[test]
fn a_long_message_is_cut_and_says_so() {
    let (logger, records) = collector(Level::Info);
    for (text, cut) in [
        ("x".repeat(MESSAGE_MAX), false),
        ("x".repeat(MESSAGE_MAX + 1), true),
        ("é".repeat(MESSAGE_MAX), true),
        ("\n".repeat(MESSAGE_MAX), true),
    ] {
        log!(logger, Info, "t", "{text}{}", "");
        let message = messages(&records).pop().unwrap();
        assert_eq!(message.ends_with(CUT), cut);
        assert!(message.len() <= MESSAGE_MAX + CUT.len());
        assert!(message.len() >= MESSAGE_MAX - 4);
    }
    logger.write_octets(Level::Info, "t", &"i".repeat(1000), &vec![0xff; MESSAGE_MAX]);
    let (_, _, id, message) = records.lock().unwrap().pop().unwrap();
    assert_eq!(id.len(), ID_MAX + CUT.len());
    assert_eq!(message.len(), MESSAGE_MAX + CUT.len());
}

#[test]
fn a_value_that_logs_while_it_is_logged() {
    struct Chatty(Logger);
    impl fmt::Display for Chatty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            log!(self.0, Info, "t", "inner");
            f.write_str("outer")
        }
    }
    let (logger, records) = collector(Level::Info);
    log!(logger, Info, "t", "{}!", Chatty(logger.clone()));
    assert_eq!(messages(&records), ["inner", "outer!"]);
}

#[test]
fn what_cannot_be_written_is_counted() {
    let file = File::options().write(true).open("/dev/full").unwrap();
    let logger = Logger::new(Level::Info, clock, Sink::File(file.into()));
    log!(logger, Info, "t", "lost");
    log!(logger, Debug, "t", "not even tried");
    assert_eq!(logger.lost(), 1);
}

#[test]
fn lines_of_many_threads_stay_whole() {
    let text = written(Level::Info, |logger| {
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for n in 0..25 {
                        log!(logger, Info, "t", "{thread} {n} {}", "x".repeat(100));
                    }
                });
            }
        });
    });
    assert_eq!(text.lines().count(), 100);
    assert!(text.lines().all(|l| l.starts_with("[2026-11-21") && l.ends_with(&"x".repeat(100))));
}
