//! A Rust client for Everwire: blocking, one socket, no thread of its own.
//!
//! Never here: reconnecting, recovery. Who uses it (the command line, tests, load tools) wants to see every
//! connection end. Read first: [`Client`], [`Socket`], [`TalkError`].
//!
//! ```no_run
//! use everwire_client::{Client, Options};
//! use serde_json::json;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let mut client = Client::connect("ws://localhost:8765/ws", &Options::default())?;
//!     client.ask("subscribe", &json!({ "channel": "news" }))?;
//!     client.ask("publish", &json!({ "channel": "news", "data": { "hi": 1 } }))?;
//!     let message = client.wait_for("message")?;
//!     assert_eq!(message["data"]["hi"], 1);
//!     client.close()?;
//!     Ok(())
//! }
//! ```

// Bottom to top: a module uses only those above it in this list.
mod address;
mod wire;
mod error;
pub mod handshake;
mod socket;
mod client;

pub use everwire_proto::payload::Format;

pub use self::address::Address;
pub use self::client::{Client, Options, Ticket};
pub use self::error::{ConnectError, Denied, TalkError};
pub use self::socket::{Dial, Message, Socket};
pub use self::wire::trusting;
