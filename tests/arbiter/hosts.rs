//! A process that has an arbiter, and other things to do: what is the process's stays the process's.

use super::*;
use crate::harness::load::Load;
use crate::harness::{SIGKILL, kill};

/// While workers come and go.
pub(crate) fn children_of_the_host_keep_their_statuses(model: Model) {
    let mut host = Host::start(model, 2, &[]);
    for round in 1..=5 {
        if model.is_process {
            until("two", || host.server.workers().len() == 2);
            kill(host.server.workers()[0], SIGKILL);
        } else {
            host.server.signal(SIGHUP);
        }
        for _ in 0..5 {
            host.tell("children");
        }
        if model.is_process {
            host.until("readies", 2 + round);
        } else {
            host.until("reloads", round);
        }
    }
    host.stop();
}

/// Its waitpid is quicker than the arbiter's: then the arbiter is told, or knows only that a worker
/// has ended.  Threads are nobody's children.
pub(crate) fn a_host_that_reaps_tells_of_its_children(model: Model) {
    let host = Host::start(model, 2, &["host=reaps"]);
    let load = Load::during(host.server.address(), |load| {
        for round in 1..=3 {
            let answers = load.answers();
            until("all are at work", || load.answers() > answers + 20);
            if model.is_process {
                kill(host.server.workers()[0], SIGKILL);
                host.until("readies", 2 + round);
            } else {
                host.server.signal(SIGHUP);
                host.until("reloads", round);
            }
        }
    });
    assert!(model.is_process || load.failures().is_empty());
    let reaped = host.number("reaped");
    let ended = host.stop();
    if model.is_process {
        assert!(reaped >= 1, "the arbiter was always first");
        let killed = ended.stdout.matches(" status 9").count();
        assert_eq!(killed, 3, "{ended:?}");
    } else {
        assert_eq!(reaped, 0);
    }
}

/// The host compares all 64 signals, its mask, descriptors, directory, environment, umask, threads
/// and children with what they were; after an arbiter with signals, too.
pub(crate) fn without_signals_nothing_of_the_process_changes(model: Model) {
    for signals in ["signals=0", "signals=1"] {
        let mut host = Host::launch(model, &[signals, "workers=2"]);
        host.until("least", 2);
        let address = host.server.address().to_owned();
        Load::during(&address, |load| {
            host.tell("reload");
            host.until("reloads", 1);
            host.tell("scale 3");
            host.until("ready", 3);
            until("some", || load.answers() > 100);
        })
        .assert_no_failure();
        host.tell("stop");
        host.end(0);
    }
}
