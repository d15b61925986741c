//! Hosted mode: a foreign server without sockets (`tests/c/host.c`) feeds requests in and pulls answers
//! out, with applications on its own thread and on ours.

mod harness;

use harness::{Server, program};

/// A scenario of the program, with these options.
fn plays(scenario: &str, options: &[&str]) {
    let args = [&[scenario], options].concat();
    let ended = Server::launch(&program(&["tests/c/host.c"]), &args).end();
    assert_eq!(ended.status, Some(0), "{args:?}: {ended:?}");
    assert_eq!(ended.stdout, "well\n", "{args:?}");
}

/// On the host's thread, on one of ours, and on several.
fn plays_everywhere(scenario: &str, options: &[&str]) {
    plays(scenario, options);
    for threads in ["threads=1", "threads=4"] {
        plays(scenario, &[options, &[threads]].concat());
    }
}

#[test]
fn answers_come_out_as_they_were_given() {
    plays_everywhere("answers", &[]);
    plays_everywhere("answers", &["output_buffer=16k", "request_timeout=20s"]);
}

#[test]
fn an_environ_is_copied_and_completed() {
    plays("environs", &[]);
    plays("environs", &["threads=1"]);
}

#[test]
fn errors_before_the_head_are_pages_and_behind_it_cuts() {
    plays_everywhere("errors", &[]);
}

#[test]
fn bodies_are_complete_before_they_are_read() {
    plays_everywhere("bodies", &["max_body=1m", "body_buffer=64k"]);
}

#[test]
fn bodies_are_read_while_they_are_fed() {
    for threads in ["threads=1", "threads=4"] {
        plays("streams", &["request_buffering=0", "body_buffer=64k", threads]);
    }
}

#[test]
fn nobody_gets_ahead_of_what_was_released() {
    plays_everywhere("pressure", &["output_buffer=64k"]);
}

#[test]
fn an_exchange_is_freed_at_any_moment() {
    plays_everywhere("frees", &["output_buffer=64k"]);
}

#[test]
fn ten_thousand_requests() {
    plays_everywhere("many", &[]);
}

#[test]
fn who_blocks_keeps_nobody_waiting() {
    plays("beside", &["threads=2"]);
}

#[test]
fn what_takes_too_long_is_answered_or_cut() {
    let options = ["request_timeout=100ms", "stream_timeout=200ms", "output_buffer=64k"];
    plays("timeouts", &options);
    plays("timeouts", &[&options[..], &["threads=4"]].concat());
}

#[test]
fn what_was_lent_outlives_its_host() {
    let options = ["graceful_timeout=100ms", "output_buffer=64k"];
    plays("leaves", &options);
    plays("leaves", &[&options[..], &["threads=4"]].concat());
}
