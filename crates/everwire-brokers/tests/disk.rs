//! The disk broker against the suite that every broker must pass, over restarts, and on media that fail.
#![expect(clippy::unwrap_used, reason = "a test fails by it")]
#![expect(unreachable_pub, reason = "a test binary exports nothing; `pub` is said to its other modules")]

#[path = "disk/rig.rs"]
mod rig;
#[path = "disk/suite.rs"]
mod suite;
#[path = "disk/media.rs"]
mod media;
#[path = "disk/space.rs"]
mod space;
#[path = "disk/restarts.rs"]
mod restarts;
