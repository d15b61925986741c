//! What an arbiter promises, kept by workers that are processes and by workers that are threads:
//! each scenario runs once per worker model, against a compiled host (`tests/c/arbiter.c`), under
//! clients that count every request that is not answered as it should be.
//!
//! Where a model cannot what a scenario asks (a thread cannot be killed), the scenario says so, and
//! checks what is documented instead.

mod harness;

#[path = "arbiter/changes.rs"]
mod changes;
#[path = "arbiter/ends.rs"]
mod ends;
#[path = "arbiter/faults.rs"]
mod faults;
#[path = "arbiter/hosts.rs"]
mod hosts;
#[path = "arbiter/signals.rs"]
mod signals;

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use harness::host::{EXEC, FORK, Host, Model, THREADS, said};
use harness::{support, until};

const SIGHUP: i32 = 1;
const SIGUSR1: i32 = 10;
const SIGTTIN: i32 = 21;
const SIGTTOU: i32 = 22;
const SIGWINCH: i32 = 28;

/// Each scenario as a test of each model.
macro_rules! run {
    ($($module:ident: $model:ident)*; $scenarios:tt) => {
        $(run!(@ $module $model $scenarios);)*
    };
    (@ $module:ident $model:ident { $($part:ident: $($scenario:ident)*;)* }) => {
        mod $module {
            $($(#[test] fn $scenario() { crate::$part::$scenario(crate::$model) })*)*
        }
    };
}

run! {
    fork: FORK
    exec: EXEC
    threads: THREADS;
    {
        changes:
            reloads_lose_no_request
            loops_of_the_host_serve
            loops_of_the_host_take_the_requests
            many_workers_may_have_deep_loops
            workers_are_added_and_the_oldest_go_first
            a_burst_of_signals_leaves_it_in_order
            logs_are_opened_again_while_a_worker_boots
            what_is_asked_for_by_calls_adds_up
            no_more_than_max_recycling_are_away;
        ends:
            term_answers_what_is_there_and_what_waits
            term_answers_those_for_whom_there_is_no_room
            nothing_is_left_when_the_arbiter_is_killed
            first_workers_that_cannot_boot_end_it;
        faults:
            a_killed_worker_loses_its_own_requests_alone
            workers_that_stop_or_spin_are_replaced
            a_later_failure_to_boot_disturbs_nobody;
        hosts:
            children_of_the_host_keep_their_statuses
            a_host_that_reaps_tells_of_its_children
            without_signals_nothing_of_the_process_changes;
        signals:
            the_table_of_the_manual_is_true;
    }
}
