//! What runs saw. Runs that saw too little prove nothing.

macro_rules! report {
    ($($name:ident $least:literal $doc:literal;)*) => {
        /// What a run saw, or many runs together.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Report { $(#[doc = $doc] pub $name: u64,)* }

        impl Report {
            /// All numbers of two reports together.
            pub fn add(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }

            /// What was seen too seldom in so many runs of 2 000 steps or more; the table says how often in a hundred.
            pub fn shortage(&self, runs: u64) -> Vec<&'static str> {
                let mut short = Vec::new();
                $(if self.$name * 100 < $least * runs { short.push(stringify!($name)); })*
                short
            }
        }
    };
}

// Least in a hundred runs, with and without a broker.
report! {
    delivered 20_000 "Messages that clients got.";
    gaps 500 "Gaps that clients were told.";
    volatile_gaps 100 "Of these, gaps without positions.";
    recovered 200 "Subscribes that recovered everything.";
    unrecovered 100 "Subscribes that were told a gap.";
    resumed 200 "Sessions that went on in another connection.";
    duplicates 200 "Publishes that were known already.";
    refused 200 "Commands that were refused.";
    full 0 "Of these, because all channels of the node were in use.";
    presence_pages 100 "Pages of members that had a next one.";
    presence_walks 100 "Presences read in pages that were held against the members themselves.";
    stale_pages 0 "Pages of members that were newer than the first.";
    history_pages 100 "Pages of history that had a next one.";
    unreadable 100 "Commands that could not be read.";
    babblers 10 "Connections that were ended for those.";
    limited 20 "Subscribes that were one too many for the connection.";
    rate_limited 0 "Commands that would have had to wait too long.";
    unasked 200 "Commands without an id.";
    dismissed 50 "Connections that the server said goodbye to.";
    clock_jumps 100 "Jumps of the wall clock.";
    backend 0 "Publishes and reads by the application's backend.";
    presence_resets 0 "Presence that had to be asked for again.";
    evicted_channels 300 "Idle channels that made room.";
    cuts 500 "Connections that clients cut.";
    goodbyes 200 "Connections that clients ended.";
    silences 200 "Clients that vanished without a word.";
    slow_readers 500 "Times that a client stopped to read.";
    overtakes 100 "Subscribes that were overtaken by the client's next connection.";
    waves 100 "Times that a member in a slow reader's channel said much of itself.";
    floods 100 "Times that a channel of a slow reader was filled.";
    slow_closes 50 "Connections that were ended for not reading.";
    missed_heartbeats 0 "Connections that were ended for their silence, and saw it.";
    node_deaths 25 "Nodes that died and came back.";
    link_breaks 0 "Links to the broker that broke.";
    link_losses 0 "Arrivals that were lost on a link.";
    link_doubles 0 "Arrivals that came twice.";
    link_reorders 0 "Arrivals that came out of order.";
    lost_pasts 0 "Channels whose past the broker lost.";
}
