//! What the control group of this process tells: version 2, or the memory controller of version 1.

use std::fs;
use std::path::Path;

/// How many processes of the control group the system has killed for want of memory; `None` where
/// nobody counts.
pub fn oom_kills() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let read = |(root, group, file): (&str, &str, &str)| {
        let path = Path::new("/sys/fs/cgroup").join(root).join(group.trim_start_matches('/'));
        count(&fs::read_to_string(path.join(file)).ok()?)
    };
    files(&groups).into_iter().flatten().find_map(read)
}

/// Where it may be counted: the mount below /sys/fs/cgroup, the group, the file.
fn files(groups: &str) -> [Option<(&str, &str, &str)>; 2] {
    let unified = groups.lines().find_map(|line| line.strip_prefix("0::"));
    let memory = groups.lines().find_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        controllers.split(',').any(|name| name == "memory").then_some(group)
    });
    [
        memory.map(|group| ("memory", group, "memory.oom_control")),
        unified.map(|group| ("", group, "memory.events")),
    ]
}

fn count(events: &str) -> Option<u64> {
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_group_are_found() {
        let two = "0::/user.slice/x.scope\n";
        assert_eq!(files(two), [None, Some(("", "/user.slice/x.scope", "memory.events"))]);
        let one = "12:cpu:/a\n4:blkio,memory:/b/c\n0::/\n";
        let memory = ("memory", "/b/c", "memory.oom_control");
        assert_eq!(files(one), [Some(memory), Some(("", "/", "memory.events"))]);
        assert_eq!(files("12:cpu:/a\n"), [None, None]);
    }

    #[test]
    fn both_versions_count_alike() {
        let events = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 1\n";
        assert_eq!(count(events), Some(3));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), Some(1));
        assert_eq!(count("oom 2\n"), None);
    }
}
