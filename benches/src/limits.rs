//! The limit on open files, which bounds the connections of one process.

use anyhow::{Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files that a process of the load needs beside its connections: standard streams, the runtime's own, files of `/proc`.
const SPARE: u64 = 64;

/// Raises the soft limit of open files to the hard one, which needs no privilege.
///
/// # Errors
/// When that is still too little for `connections`.
pub fn allow_connections(connections: u64) -> Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        let raised = Rlimit {
            current: maximum,
            maximum,
        };
        // Where it cannot be raised the check below says what that means.
        setrlimit(Resource::Nofile, raised).ok();
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    ensure!(
        connections.saturating_add(SPARE) <= allowed,
        "{connections} connections need more than the {allowed} files that this process may open; \
         spread them with --processes, or raise `ulimit -Hn`"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allowed_is_what_the_hard_limit_says() {
        allow_connections(10).unwrap();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        if let Some(maximum) = limit.maximum {
            assert!(allow_connections(maximum).is_err());
        }
    }
}
