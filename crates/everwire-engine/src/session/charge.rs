//! What a command costs: every bucket that it draws on.

use everwire_proto::codes::ErrorCode;
use everwire_proto::command::Command;

use super::{Deny, Session};
use crate::limits::ConnectionLimits;
use crate::node::Payer;
use crate::time::Now;

/// How long an empty bucket may hold a connection; a command that would have to wait longer is refused.
const HELD_MS: u64 = 2_000;

/// How long a bucket makes a command, or what follows it, wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    /// Until its debt is paid, or would be, ms.
    pub ms: u64,
    /// Whose bucket it is.
    pub payer: Payer,
    /// How fast it fills.
    per_second: u32,
}

impl Session {
    /// Charges every bucket that a command draws on. The command itself is taken, in debt if need be: it is here already.
    ///
    /// # Errors
    /// It would have to wait too long: [`Pause::refusal`].
    #[inline]
    pub fn charge(
        &mut self,
        command: &Command<'_>,
        limits: &ConnectionLimits,
        now: Now,
    ) -> Result<Pause, Pause> {
        let (per_second, burst) = self.command_rate(limits);
        let (taken, payer) = match command {
            Command::Subscribe(_) | Command::Unsubscribe { .. } => {
                let channels = self.most_channels(limits);
                (self.subscribes.take(now, per_second, channels, HELD_MS), Payer::Subscribes)
            }
            _ => (self.commands.take(now, per_second, burst, HELD_MS), Payer::Connection),
        };
        let mut pause = paid(taken, payer, per_second)?;
        let publishes = limits.publishes_per_second;
        if publishes < per_second && matches!(command, Command::Publish(_)) {
            let taken = self.publishes.take(now, publishes, limits.publishes_burst, HELD_MS);
            pause = longer(pause, paid(taken, Payer::Publishes, publishes)?);
        }
        if let Some(part) = &self.party {
            let per_second = limits.user_commands_per_second;
            let taken = part.commands().take(now, per_second, limits.user_commands_burst, HELD_MS);
            pause = longer(pause, paid(taken, Payer::User, per_second)?);
        }
        if let Some(bucket) = &self.address {
            let per_second = limits.address_commands_per_second;
            let taken = bucket.take(now, per_second, limits.address_commands_burst, HELD_MS);
            pause = longer(pause, paid(taken, Payer::Address, per_second)?);
        }
        Ok(pause)
    }

    /// Charges a control frame, which costs what a command does. It can't be refused: one that would have to wait too long
    /// holds its connection for as long as a bucket may.
    pub fn charge_frame(&mut self, limits: &ConnectionLimits, now: Now) -> Pause {
        self.charge(&Command::Ping, limits, now).unwrap_or_else(Pause::at_most)
    }
}

#[inline]
fn paid(taken: Result<u64, u64>, payer: Payer, per_second: u32) -> Result<Pause, Pause> {
    match taken {
        Ok(ms) => Ok(Pause { ms, payer, per_second }),
        Err(ms) => Err(Pause { ms, payer, per_second }),
    }
}

#[inline]
fn longer(one: Pause, other: Pause) -> Pause {
    if other.ms > one.ms { other } else { one }
}

impl Pause {
    /// The longest that a bucket may hold a connection, for what was refused: what follows would be refused too.
    pub fn at_most(self) -> Self {
        Self { ms: self.ms.min(HELD_MS), ..self }
    }

    /// What a client is told that would have to wait too long.
    #[cold]
    pub fn refusal(self) -> Deny {
        let Self { ms, payer, per_second } = self;
        let what = match payer {
            Payer::Connection => "commands a second",
            Payer::Subscribes => "subscribes and unsubscribes a second",
            Payer::Publishes => "publishes a second",
            Payer::User => "commands a second of all connections of this user",
            Payer::Address => "commands a second of all connections from this address",
        };
        let text = format!("more than {per_second} {what}; the next one is welcome in {ms} ms");
        Deny { retry_after_ms: Some(ms), ..Deny::new(ErrorCode::RateLimited, text) }
    }
}
