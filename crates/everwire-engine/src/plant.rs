//! Planted bugs: places where a test may break the engine on purpose, to prove that the simulator would notice.
//! Without the feature `testing` every question is the constant `false` and costs nothing.

/// The bugs that can be planted, one at a time, for the current thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An offset is left out when numbering, and the message with it.
    SkipOffset,
    /// `published` is sent though nothing was appended.
    AcknowledgeUnstored,
    /// A stream that lost its past keeps its epoch.
    ReuseEpoch,
    /// A subscriber stays in the hub after `unsubscribed`.
    DeliverAfterUnsubscribed,
    /// A cursor that eviction overtook goes on without a word.
    LoseGap,
    /// A replay begins one message too early.
    ReplayTwice,
    /// A replay begins one message too late.
    ReplayShort,
    /// What a partial write left over is thrown away.
    LoseTail,
    /// Message ids are never remembered.
    ForgetMessageId,
    /// A member that died is never taken out.
    GhostMember,
    /// Two frames of a batch change places.
    SwapBatch,
    /// The outbox never says it is full.
    EndlessOutbox,
}

impl Bug {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::SkipOffset,
        Self::AcknowledgeUnstored,
        Self::ReuseEpoch,
        Self::DeliverAfterUnsubscribed,
        Self::LoseGap,
        Self::ReplayTwice,
        Self::ReplayShort,
        Self::LoseTail,
        Self::ForgetMessageId,
        Self::GhostMember,
        Self::SwapBatch,
        Self::EndlessOutbox,
    ];
}

#[cfg(feature = "testing")]
mod switch {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug in this thread, or takes it out again.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn planted(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(feature = "testing")]
pub use switch::plant;
#[cfg(feature = "testing")]
pub(crate) use switch::planted;

#[cfg(not(feature = "testing"))]
pub(crate) fn planted(_: Bug) -> bool {
    false
}
