//! The terminal: entered, drawn on in place, and left as it was, however the program ends.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write as _, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use crossterm::style::Print;
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, DisableLineWrap, EnableLineWrap,
    EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{cursor, execute, queue};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};

use super::view::Size;

/// How often to look for a signal.
const LOOK: Duration = Duration::from_millis(100);

/// Whether the terminal is ours.
static ENTERED: AtomicBool = AtomicBool::new(false);

/// What whoever watches wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// The same again: time has come, or the size has changed.
    Draw,
    /// New numbers at once.
    Ask,
    End,
}

/// The terminal, while it is ours.
pub(super) struct Screen {
    ends: Arc<AtomicBool>,
    /// Where keys come from, unless that is standard input.
    keys: Option<File>,
}

impl Screen {
    pub(super) fn enter() -> io::Result<Screen> {
        let ends = Arc::new(AtomicBool::new(false));
        for signal in [
            signal_hook::consts::SIGTERM,
            signal_hook::consts::SIGINT,
            signal_hook::consts::SIGHUP,
            signal_hook::consts::SIGQUIT,
        ] {
            // A second one ends it at once.
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&ends))?;
            signal_hook::flag::register(signal, Arc::clone(&ends))?;
        }
        // What a panic says is to be read afterwards.
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            leave();
            before(info);
        }));
        ENTERED.store(true, Ordering::Relaxed);
        let keys = if stdin().is_terminal() { None } else { Some(File::open("/dev/tty")?) };
        let screen = Screen { ends, keys };
        enable_raw_mode()?;
        execute!(stdout(), EnterAlternateScreen, DisableLineWrap, cursor::Hide)?;
        Ok(screen)
    }

    pub(super) fn size(&self) -> Size {
        let (width, height) = size().unwrap_or((80, 24));
        Size { width: width.into(), height: height.into() }
    }

    /// These lines, and nothing else, without a moment in which there is nothing.
    pub(super) fn draw(&self, lines: &[String]) -> io::Result<()> {
        let mut out = stdout().lock();
        queue!(out, BeginSynchronizedUpdate)?;
        let Size { width, height } = self.size();
        for (row, line) in (0..).zip(lines) {
            queue!(out, cursor::MoveTo(0, row), Print(line))?;
            if line.len() < width {
                // Behind a full line it would clear its last letter.
                queue!(out, Clear(ClearType::UntilNewLine))?;
            }
        }
        let rows = u16::try_from(lines.len()).unwrap_or(u16::MAX);
        if lines.len() < height {
            queue!(out, cursor::MoveTo(0, rows), Clear(ClearType::FromCursorDown))?;
        }
        queue!(out, EndSynchronizedUpdate)?;
        out.flush()
    }

    /// Until then, or until somebody wants something.
    pub(super) fn wait(&self, due: Instant) -> io::Result<Wish> {
        loop {
            if self.ends.load(Ordering::Relaxed) {
                return Ok(Wish::End);
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Wish::Draw);
            }
            if !self.is_there(left.min(LOOK))? {
                return Ok(Wish::End);
            }
            if !poll(Duration::ZERO)? {
                continue;
            }
            match read()? {
                Event::Key(key) if key.kind != KeyEventKind::Release => match key.code {
                    KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Ok(Wish::End),
                    KeyCode::Char('c' | 'd') if key.modifiers == KeyModifiers::CONTROL => {
                        return Ok(Wish::End);
                    }
                    KeyCode::Char(' ') | KeyCode::Enter => return Ok(Wish::Ask),
                    _ => {}
                },
                Event::Resize(..) => return Ok(Wish::Draw),
                _ => {}
            }
        }
    }

    /// Wait so long for a key; false: nobody has the terminal any more, and reading from it would never
    /// end.
    fn is_there(&self, wait: Duration) -> io::Result<bool> {
        let stdin = stdin();
        let keys: BorrowedFd<'_> = self.keys.as_ref().map_or(stdin.as_fd(), AsFd::as_fd);
        let mut fds = [PollFd::new(keys, PollFlags::POLLIN)];
        let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut fds, wait) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let gone = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
        Ok(!fds[0].revents().is_some_and(|events| events.intersects(gone)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// As it was; once, since a second time would move the cursor back over what was said meanwhile.
fn leave() {
    if !ENTERED.swap(false, Ordering::Relaxed) {
        return;
    }
    let _ = execute!(stdout(), EnableLineWrap, cursor::Show, LeaveAlternateScreen);
    let _ = disable_raw_mode();
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// Tells the test that it is the one in the terminal.
    const PANICS: &str = "GATEWAY_TEST_PANICS";

    #[test]
    fn a_panic_leaves_the_terminal_as_it_was_and_is_read() {
        // Run by itself, in a terminal.
        if std::env::var_os(PANICS).is_some() {
            let screen = Screen::enter().unwrap();
            screen.draw(&["this is what it shows".into()]).unwrap();
            panic!("this is what it says");
        }
        let name = format!("gateway-panic-{}", std::process::id());
        let tmux = |args: &[&str]| {
            let mut tmux = Command::new("tmux");
            tmux.args(["-L", &name]).args(args).env_remove("TMUX").env("TERM", "xterm-256color");
            let output = tmux.stdin(Stdio::null()).output();
            let output = output.expect("tmux: scripts/setup test installs it");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let this = std::env::current_exe().unwrap();
        let run = format!(
            "echo before; RUST_BACKTRACE=0 {PANICS}=1 {} --nocapture a_panic_leaves; echo after; cat",
            this.display()
        );
        tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "120", "-y", "30", &run]);
        let since = Instant::now();
        let mut screen = String::new();
        while !screen.contains("after") && since.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(LOOK);
            screen = tmux(&["capture-pane", "-p"]);
        }
        let state = tmux(&["display-message", "-p", "#{alternate_on} #{cursor_flag}"]);
        tmux(&["kill-server"]);
        let all = ["before", "this is what it says", "after"];
        assert!(all.iter().all(|text| screen.contains(text)), "{screen}");
        assert!(!screen.contains("this is what it shows"), "{screen}");
        assert_eq!(state.trim(), "0 1");
    }
}
