//! What the operating system says of this process and its disk. Linux only, like the rest of the node's shell.

use std::{fs, path::Path};

/// What `/proc` says; a part that it does not say is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// Processor time used, user and system, in seconds.
    pub cpu_seconds: Option<f64>,
    /// Resident memory in bytes.
    pub resident_bytes: Option<u64>,
    /// Open files, sockets among them.
    pub open_files: Option<u64>,
    /// How many it may have.
    pub open_files_max: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// When it started, in seconds since 1970.
    pub started: Option<f64>,
}

impl Process {
    /// This process, now.
    pub fn read() -> Self {
        let text = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        let stat = text("stat");
        // The name may hold anything, but ends with the last parenthesis; what follows is field 3 of proc(5).
        let fields: Vec<f64> = match stat.rsplit_once(") ") {
            Some((_, fields)) => fields
                .split_ascii_whitespace()
                .map(|field| field.parse().unwrap_or(0.0))
                .collect(),
            None => Vec::new(),
        };
        let field = |number: usize| fields.get(number - 3).copied();
        let resident = text("statm")
            .split_ascii_whitespace()
            .nth(1)
            .and_then(|pages| pages.parse::<u64>().ok());
        let limits = text("limits");
        let files_max = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let boot = fs::read_to_string("/proc/stat").unwrap_or_default();
        let boot = boot
            .lines()
            .find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        Self {
            cpu_seconds: field(14).zip(field(15)).map(|(user, system)| (user + system) / ticks),
            resident_bytes: resident.map(|pages| pages.saturating_mul(rustix::param::page_size() as u64)),
            open_files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
            open_files_max: files_max.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()),
            threads: field(20).map(|threads| threads as u64),
            started: boot.zip(field(22)).map(|(boot, after)| boot + after / ticks),
        }
    }
}

/// Free and all bytes of the file system that holds `folder`; `None` if it does not say.
pub fn disk(folder: &Path) -> Option<(u64, u64)> {
    let space = rustix::fs::statvfs(folder).ok()?;
    Some((
        space.f_bavail.saturating_mul(space.f_frsize),
        space.f_blocks.saturating_mul(space.f_frsize),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_size_an_age_and_a_disk() {
        let process = Process::read();
        assert!(process.resident_bytes > Some(1 << 20), "{process:?}");
        assert!(
            process.cpu_seconds.is_some_and(|used| (0.0..100_000.0).contains(&used)),
            "{process:?}"
        );
        assert!(
            process.open_files >= Some(3) && process.open_files <= process.open_files_max,
            "{process:?}"
        );
        assert!(process.threads >= Some(1), "{process:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - process.started.unwrap();
        assert!((-2.0..100_000.0).contains(&age), "{process:?}, {age} s old");
        let (free, all) = disk(Path::new("/")).unwrap();
        assert!(all > 0 && free <= all);
        assert_eq!(disk(Path::new("/there/is/no/such/folder")), None);
    }
}
