//! What the control group (version 2) of this process tells.

use std::fs;
use std::path::Path;

/// How many processes of the control group the system has killed for want of memory; `None` where
/// nobody counts.
pub fn oom_kills() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = unified(&groups)?.trim_start_matches('/').to_owned();
    let events = Path::new("/sys/fs/cgroup").join(path).join("memory.events");
    count(&fs::read_to_string(events).ok()?)
}

/// The path of the group in the unified hierarchy.
fn unified(groups: &str) -> Option<&str> {
    groups.lines().find_map(|line| line.strip_prefix("0::"))
}

fn count(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_group_are_read() {
        assert_eq!(unified("12:cpu:/a\n0::/user.slice/x.scope\n"), Some("/user.slice/x.scope"));
        assert_eq!(unified("12:cpu:/a\n"), None);
        let events = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 1\n";
        assert_eq!(count(events), Some(3));
        assert_eq!(count("oom 2\n"), None);
    }
}
