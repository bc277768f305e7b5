//! Planted bugs: places where a test may break the engine on purpose, to prove that the simulator would notice.
//! Without the feature `testing` every question is the constant `false` and costs nothing.

macro_rules! bugs {
    ($($name:ident $what:literal;)*) => {
        /// The bugs that can be planted, one at a time, for the current thread.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug { $(#[doc = $what] $name,)* }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];
        }
    };
}

bugs! {
    SkipOffset "An offset is left out when numbering, and the message with it.";
    AcknowledgeUnstored "`published` is sent though nothing was appended.";
    NumberedVolatile "A volatile message gets an offset.";
    WrongDuplicate "A duplicate is answered with another position.";
    ForgetMessageId "Message ids are never remembered.";
    WallClockIds "Message ids age by the wall clock.";
    WallClockAge "History ages by the wall clock.";
    ReuseEpoch "A stream that lost its past keeps its epoch.";
    ForeignAccepted "A position of another epoch is taken for one of this.";
    ReplayTwice "A replay begins one message too early.";
    ReplayShort "A replay begins one message too late.";
    UntoldExpiry "A recovery that is not whole is not followed by its gap.";
    PageOffByOne "A page of history begins with the message it should follow.";
    PageForgetsMore "A page of history never says that there is more.";
    TagsLost "A message is stored without its tags.";
    DeliverAfterUnsubscribed "A subscriber stays in the hub after `unsubscribed`.";
    LoseGap "A cursor that eviction overtook goes on without a word.";
    SwapGap "The two positions of a gap change places.";
    LoseTail "What a partial write left over is thrown away.";
    SwapBatch "Two frames of a batch change places.";
    DoubleBatch "A batch whose walk takes several turns is given again to whoever says something meanwhile.";
    DeflatedMixup "A deflated frame of a batch holds what another one should.";
    BatchForgetsVolatile "A batch that is closed early takes its volatile messages with it.";
    UncrowdForgets "A crowded room goes on behind its newest entry, also where that one has no number.";
    RoomBeginsEarly "A new room takes the place of its first subscriber for the top.";
    EchoToMute "`echo:false` is forgotten.";
    EndlessOutbox "The outbox never says it is full.";
    StashBypass "What is left for a later turn is put into the outbox past its limit.";
    StuckBlocked "A socket that was told of a loss counts as full from then on.";
    NoPresenceReset "Presence events are left out of an outbox without a word.";
    BehindForgotten "A full inbox leaves stored messages out without its mark.";
    LostUntold "A full inbox leaves volatile messages out without a word.";
    UnheardForgotten "A full inbox leaves presence events out without its mark.";
    GhostMember "A member that died is never taken out.";
    NoGrace "A member that died leaves at once.";
    LeavesUnordered "Leaves are not looked at in the order in which they are due.";
    OlderHolder "A connection that was resumed away takes the membership back.";
    VersionStays "A leave does not raise the presence version.";
    OwnJoin "A member is told of its own join.";
    StaleUnsaid "A page of another presence version does not say so.";
    FreshResume "A resumed session gets another client id.";
    DeafHeartbeat "Silence never ends a connection.";
    SilentBye "A server that goes away does not say so first.";
    ReplyUnasked "A command without an id is replied to.";
    FreeToken "A command that had to wait for its token is not charged for it.";
    BabbleBorne "Commands that can't be read are not counted.";
    EndlessChannels "A connection may have more channels than its limit.";
    CrowdedNode "A node may know more channels than its limit.";
    AheadUnasked "A position that another node was first to hear of is refused without asking the broker.";
    RoomGone "A room whose first subscriber waits for a page is dropped.";
    PageOfAnyEpoch "A page is asked for without saying in which epoch.";
    MuteForgottenOnPages "`echo:false` is forgotten on the broker's pages.";
    TopUnchecked "A position check that shows a loss is not followed up.";
    UnknownFollows "A message whose predecessor is not known is taken for the next one.";
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
