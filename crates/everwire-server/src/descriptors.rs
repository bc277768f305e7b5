//! File descriptors: each connection takes one, and the usual soft limit of 1024 is for shells, not for servers.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Below this many descriptors the banner warns.
pub const FEW: u64 = 4_096;

/// Raises the soft limit to the hard one. The limit that holds afterwards; `None`: there is none.
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Where it is refused the old one holds, which is read back below.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    most()
}

/// How many there may be; `None`: there is no limit.
pub fn most() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}
