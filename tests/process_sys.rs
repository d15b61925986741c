//! What `sys` promises about processes and signals, in processes that may fork.

mod process_support;

use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use gateway::sys::file::TempFile;
use gateway::sys::listen::{Address, listen};
use gateway::sys::proc::{self, Exit, PANIC_STATUS, Pid};
use gateway::sys::send::{send, send_file, sigpipe_is_ignored};
use gateway::sys::shm::Shared;
use gateway::sys::signal::{self, Signals};
use gateway::sys::sock::wait_readable;
use process_support::{blocked, dispositions, eventually, set_handler};

fn main() {
    process_support::main(
        &[
            ("a_child_ends_as_it_says", a_child_ends_as_it_says),
            ("signals_wait_until_the_child_is_ready", signals_wait_until_the_child_is_ready),
            ("a_child_hears_its_own_signals_only", a_child_hears_its_own_signals_only),
            ("a_child_is_another_process", a_child_is_another_process),
            ("shared_memory_is_shared", shared_memory_is_shared),
            ("a_child_leaves_socket_files_alone", a_child_leaves_socket_files_alone),
            ("threads_are_counted_when_they_are_gone", threads_are_counted_when_they_are_gone),
            ("a_child_dies_with_its_parent", a_child_dies_with_its_parent),
            ("sendfile_raises_no_sigpipe", sendfile_raises_no_sigpipe),
            ("a_sigpipe_of_the_host_stays", a_sigpipe_of_the_host_stays),
        ],
        &[],
    );
}

fn wait(pid: Pid) -> Exit {
    let mut exit = None;
    eventually("the child ends", || {
        exit = proc::wait_pid(pid);
        exit.is_some()
    });
    exit.unwrap()
}

fn a_child_ends_as_it_says() {
    let pid = proc::fork_with(|_| 7).unwrap();
    assert_eq!(wait(pid), Exit::Code(7));
    let pid = proc::fork_with(|_| {
        std::panic::set_hook(Box::new(|_| {}));
        panic!("in the child")
    })
    .unwrap();
    assert_eq!(wait(pid), Exit::Code(PANIC_STATUS));
    let pid = proc::fork_with(|_| {
        // SAFETY: no memory is involved.
        unsafe { libc::raise(libc::SIGKILL) };
        0
    })
    .unwrap();
    assert_eq!(wait(pid), Exit::Signal(libc::SIGKILL));
    // No destructor of the parent's runs in a child.
    struct Loud(Pid);
    impl Drop for Loud {
        fn drop(&mut self) {
            assert_eq!(proc::pid(), self.0);
        }
    }
    let loud = Loud(proc::pid());
    assert_eq!(wait(proc::fork_with(|_| 0).unwrap()), Exit::Code(0));
    drop(loud);
}

fn signals_wait_until_the_child_is_ready() {
    let before = blocked();
    let shared = Shared::<AtomicU32>::new(1).unwrap();
    let pid = proc::fork_with(|mask| {
        let all = blocked().len();
        while shared[0].load(Ordering::SeqCst) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        // Still here although TERM has come.
        shared[0].store(if all >= 60 { 2 } else { 3 }, Ordering::SeqCst);
        mask.restore();
        9
    })
    .unwrap();
    assert_eq!(blocked(), before);
    proc::kill(pid, libc::SIGTERM).unwrap();
    shared[0].store(1, Ordering::SeqCst);
    assert_eq!(wait(pid), Exit::Signal(libc::SIGTERM));
    assert_eq!(shared[0].load(Ordering::SeqCst), 2);
}

fn a_child_hears_its_own_signals_only() {
    let host = dispositions();
    let signals = Signals::install(&[libc::SIGUSR1]).unwrap();
    let pid = proc::fork_with(|mask| {
        signal::reset_in_child();
        drop(signals);
        if dispositions() != host {
            return 1;
        }
        let own = Signals::install(&[libc::SIGUSR1, libc::SIGTERM]).unwrap();
        mask.restore();
        if !wait_readable(own.fd(), -1).unwrap() {
            return 2;
        }
        i32::from(own.take().next() != Some(libc::SIGUSR1)) * 3
    })
    .unwrap();
    proc::kill(pid, libc::SIGUSR1).unwrap();
    assert_eq!(wait(pid), Exit::Code(0));
}

fn a_child_is_another_process() {
    // Known here, and not taken along.
    let parent = proc::pid();
    let child = proc::fork_with(|_| {
        let own = i32::try_from(std::process::id()).unwrap();
        i32::from(proc::pid() != own || proc::pid() == parent)
    })
    .unwrap();
    assert_eq!(wait(child), Exit::Code(0));
    assert_eq!(proc::pid(), parent);
}

fn shared_memory_is_shared() {
    let shared = Shared::<AtomicU64>::new(1000).unwrap();
    let pid = proc::fork_with(|_| {
        shared.iter().for_each(|word| word.store(5, Ordering::SeqCst));
        0
    })
    .unwrap();
    assert_eq!(wait(pid), Exit::Code(0));
    assert!(shared.iter().all(|word| word.load(Ordering::SeqCst) == 5));
}

fn a_child_leaves_socket_files_alone() {
    let path = std::env::temp_dir().join(format!("gateway-child-{}", proc::pid()));
    let listening = listen(&Address::Unix(path.clone()), 1, false, None).unwrap();
    let pid = proc::fork_with(|_| {
        drop(listening);
        0
    })
    .unwrap();
    // In the parent the closure was dropped, and the listener in it.
    assert_eq!(wait(pid), Exit::Code(0));
    assert!(!path.exists());

    let listening = listen(&Address::Unix(path.clone()), 1, false, None).unwrap();
    let mut own = Some(listening);
    let slot = &mut own;
    let pid = proc::fork_with(|_| {
        drop(slot.take());
        0
    })
    .unwrap();
    assert_eq!(wait(pid), Exit::Code(0));
    assert!(path.exists(), "the child dropped its copy");
    drop(own);
    assert!(!path.exists());
}

fn threads_are_counted_when_they_are_gone() {
    let patience = Duration::from_secs(10);
    assert_eq!(proc::thread_count(patience), Some(1));
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || stopped.recv());
    assert_eq!(proc::thread_count(Duration::ZERO), Some(2));
    assert!(proc::is_main_thread());
    drop(stop);
    thread.join().unwrap().unwrap_err();
    assert_eq!(proc::thread_count(patience), Some(1));
}

fn a_child_dies_with_its_parent() {
    let shared = Shared::<AtomicI32>::new(1).unwrap();
    let child = proc::fork_with(|mask| {
        let parent = proc::pid();
        proc::fork_with(|mask| {
            assert!(!proc::die_with_parent(parent + 1), "not its parent");
            if !proc::die_with_parent(parent) {
                return 1;
            }
            mask.restore();
            shared[0].store(proc::pid(), Ordering::SeqCst);
            loop {
                std::hint::spin_loop();
            }
        })
        .unwrap();
        mask.restore();
        loop {
            std::thread::sleep(Duration::from_secs(1));
        }
    })
    .unwrap();
    eventually("the grandchild runs", || shared[0].load(Ordering::SeqCst) != 0);
    let grandchild = i64::from(shared[0].load(Ordering::SeqCst));
    assert!(process_support::alive(grandchild));
    proc::kill(child, libc::SIGKILL).unwrap();
    assert_eq!(wait(child), Exit::Signal(libc::SIGKILL));
    eventually("the grandchild is dead", || !process_support::alive(grandchild));
}

static RAISED: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: libc::c_int) {
    RAISED.fetch_add(1, Ordering::SeqCst);
}

/// A socket whose other end is gone, and a file of one octet.
fn broken() -> (UnixStream, TempFile) {
    let (a, _) = UnixStream::pair().unwrap();
    let mut file = TempFile::new(&std::env::temp_dir()).unwrap();
    file.append(b"x").unwrap();
    (a, file)
}

fn sendfile_raises_no_sigpipe() {
    // std ignores SIGPIPE; a C program does not.
    assert!(sigpipe_is_ignored());
    set_handler(libc::SIGPIPE, count as *const () as libc::sighandler_t);
    assert!(!sigpipe_is_ignored());
    let (socket, file) = broken();
    let before = blocked();
    let error = send_file(socket.as_raw_fd(), file.fd(), 0, 1, false).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
    let error = send(socket.as_raw_fd(), b"x", false).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EPIPE));
    assert_eq!(RAISED.load(Ordering::SeqCst), 0);
    assert_eq!(blocked(), before);
    // The test can fail: without the protection there is a signal.
    send_file(socket.as_raw_fd(), file.fd(), 0, 1, true).unwrap_err();
    assert_eq!(RAISED.load(Ordering::SeqCst), 1);

    set_handler(libc::SIGPIPE, libc::SIG_DFL);
    send_file(socket.as_raw_fd(), file.fd(), 0, 1, false).unwrap_err();
}

fn a_sigpipe_of_the_host_stays() {
    set_handler(libc::SIGPIPE, count as *const () as libc::sighandler_t);
    // SAFETY: the sets are initialised before they are read.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&mut set, libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        libc::raise(libc::SIGPIPE);
        let (socket, file) = broken();
        send_file(socket.as_raw_fd(), file.fd(), 0, 1, false).unwrap_err();
        assert_eq!(RAISED.load(Ordering::SeqCst), 0);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
    }
    assert_eq!(RAISED.load(Ordering::SeqCst), 1, "the host's own signal is delivered");
}
