//! Every limit of a node and of a connection, with its default.

use everwire_proto::payload::DEPTH;

/// Clocks of two machines may differ by so much: a token is good so long before its `nbf` and after its `exp`, and a
/// connection lives so long behind it. Below the 5 s that the contract allows.
pub const LEEWAY_MS: u64 = 2_000;

/// Limits that hold for each connection, and for all connections of one user or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Largest message, bytes.
    pub message_bytes: u32,
    /// Channels a connection may be subscribed to.
    pub channels: u32,
    /// Commands a second, sustained.
    pub commands_per_second: u32,
    /// Commands at once.
    pub commands_burst: u32,
    /// Bytes a connection's outbox may hold: replies, presence, volatile messages.
    pub outbox_bytes: u32,
    /// How deep arrays and objects of a command's values may stand in each other.
    pub json_depth: usize,
    /// Unreadable commands within 10 s that end the connection with 1008.
    pub bad_commands: u32,
    /// Commands waiting for a channel whose broker has not answered yet.
    pub waiting_commands: u32,
    /// Publishes a second, sustained; each is a command too, so more than [`Self::commands_per_second`] is never met.
    pub publishes_per_second: u32,
    /// Publishes at once.
    pub publishes_burst: u32,
    /// Connections that one user may have.
    pub user_connections: u32,
    /// Commands a second of all connections of one user together, sustained.
    pub user_commands_per_second: u32,
    /// The same, at once.
    pub user_commands_burst: u32,
    /// Connections from one address, which behind a translator of addresses or a proxy is many people.
    pub address_connections: u32,
    /// Handshakes a second from one address, sustained: upgrades, handshakes of TLS, tickets.
    pub address_handshakes_per_second: u32,
    /// The same, at once.
    pub address_handshakes_burst: u32,
    /// Commands a second of all connections from one address together, sustained.
    pub address_commands_per_second: u32,
    /// The same, at once.
    pub address_commands_burst: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            message_bytes: 64 * 1024,
            channels: 256,
            commands_per_second: 50,
            commands_burst: 100,
            outbox_bytes: 1024 * 1024,
            json_depth: DEPTH,
            bad_commands: 20,
            waiting_commands: 64,
            publishes_per_second: 1_000_000,
            publishes_burst: 1_000_000,
            user_connections: 256,
            user_commands_per_second: 500,
            user_commands_burst: 1_000,
            address_connections: 10_000,
            address_handshakes_per_second: 1_000,
            address_handshakes_burst: 5_000,
            address_commands_per_second: 50_000,
            address_commands_burst: 100_000,
        }
    }
}

/// Times of a connection's life, ms. Protocol sections 2, 4 and 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Without a command for so long after the upgrade: close 4001.
    pub connect_ms: u64,
    /// After so much silence the server pings.
    pub heartbeat_ms: u64,
    /// After so much more it closes with 4101.
    pub heartbeat_grace_ms: u64,
    /// A peer that takes nothing for so long is closed with 4100.
    pub stalled_ms: u64,
    /// A member that ended without a goodbye leaves after this.
    pub presence_grace_ms: u64,
    /// How long an ended session can be resumed.
    pub resume_ms: u64,
    /// How long a broker may take for an answer.
    pub ask_ms: u64,
    /// Told to clients: spread of reconnects after an unannounced close.
    pub reconnect_spread_ms: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            connect_ms: 10_000,
            heartbeat_ms: 25_000,
            heartbeat_grace_ms: 10_000,
            stalled_ms: 30_000,
            presence_grace_ms: 10_000,
            resume_ms: 300_000,
            ask_ms: 10_000,
            reconnect_spread_ms: 3_000,
        }
    }
}

/// Limits that hold for the node as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeLimits {
    /// Channels kept, idle ones included.
    pub channels: usize,
    /// Bytes of history kept over all channels.
    pub history_bytes: usize,
    /// Message ids remembered per channel.
    pub message_ids: usize,
    /// Message ids remembered over all channels: above that no channel remembers more than it does.
    pub message_ids_in_all: usize,
    /// How long a message id is remembered, ms.
    pub message_id_ms: u64,
    /// Bytes waiting in one shard's inbox before stored publications collapse into a mark.
    pub inbox_bytes: usize,
    /// Bytes waiting in one room of a shard, whose batch is still on its way to all, before its subscribers read the
    /// window instead.
    pub pending_bytes: usize,
    /// Ended sessions that can still be resumed; at least as many as there ever were at once.
    pub ended_sessions: usize,
    /// Bytes that all outboxes together may hold: above that the largest goes first.
    pub outbox_bytes: u64,
}

impl Default for NodeLimits {
    fn default() -> Self {
        Self {
            channels: 1_000_000,
            history_bytes: 1 << 30,
            message_ids: 10_000,
            message_ids_in_all: 1_000_000,
            message_id_ms: 300_000,
            inbox_bytes: 16 << 20,
            pending_bytes: 4 << 20,
            ended_sessions: 100_000,
            outbox_bytes: 256 << 20,
        }
    }
}
