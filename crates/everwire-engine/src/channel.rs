//! A channel on this node: its options, its cell.

mod options;
mod window;
mod message_ids;
mod presence;
mod cell;
mod change;
mod members;
mod foreign;

pub use cell::{Appended, Cell, Draft, HistoryQuery, Interest, Located, Shared, Unpublished, Wanted};
pub use foreign::{Arrival, Prev};
pub use message_ids::Publisher;
pub use options::{Access, DataCheck, HistoryLimits, Namespaces, OnSlow, Options, Schema, Who};
pub use presence::{Entered, PresenceView};
pub use window::{Evicted, Newest};
