//! The goals as a reader meets them: what each is about, under which conditions, and how long it takes.

/// One goal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Goal {
    /// Its name.
    pub(super) name: &'static str,
    /// What it is about.
    pub(super) title: &'static str,
    /// What a reader must know beside the figures.
    pub(super) conditions: &'static str,
    /// How long it takes with the usual blocks on a quiet machine, s. A floor that is unsteady is measured three times.
    pub(super) usual_s: u64,
}

/// What holds for all that are timed.
pub(super) const EVERYWHERE: &str = "\
- One core for the server and for the floor, pinned; the load tool has the other one. Both are on this machine, over \
loopback.\n\
- JSON, plain TCP, TLS only where it is said. Payloads of 128 bytes where nothing else is said.\n\
- The server's own pings go out every 25 s and are answered, as to any client, where nothing else is said. All its limits \
are enforced; those of rate are set beyond what is measured. Every client shows a token, and may do what a user with one \
may.\n\
- CPU is what the scheduler says that all threads of the server ran, in the kernel and outside. The load tool's is not in it.\n\
- Memory is resident memory of the process (VmRSS). What the kernel holds for a socket is not in it, where nothing else is \
said; it is 4 to 5 KB for an idle one.\n\
- The floor is a program of less than 60 lines that does nothing but what the kernel makes unavoidable: the same bytes, the \
same kind of sockets, the same load tool, in blocks that alternate with the server's. Where its blocks lie more than 10 % \
apart the machine was not quiet: the run is **void**, and meets nothing.\n";

/// All of them, in their order.
pub(super) const GOALS: [Goal; 17] = [
    Goal {
        name: "S1",
        title: "Fan-out of one message at a time: CPU of a delivery, against a bare `send`",
        conditions: "Pending depth 1: the next publish goes out when the last one has reached everybody.",
        usual_s: 65,
    },
    Goal {
        name: "S2",
        title: "Fan-out with 4 and 16 publishes waiting: deliveries in a CPU-second, against a bare epoll broadcast",
        conditions: "Pending depth 4 and 16: so many publishes arrive in one write, and may leave merged. The floor merges \
                     too: it sends what one read brought with one `send`.",
        usual_s: 130,
    },
    Goal {
        name: "S3",
        title: "Many small channels, and one of 18 000, against one of 1 000",
        conditions: "Publishes without `id`, 64 in flight from one connection; what publishing costs is measured by \
                     publishing to nobody, and subtracted.",
        usual_s: 150,
    },
    Goal {
        name: "S4",
        title: "Instructions and allocations of a delivery in the engine",
        conditions: "Counted under valgrind, N operations against 2 N; no kernel, no socket. All figures are in \
                     `crates/everwire-engine/counts.toml`, and CI holds every change against them.",
        usual_s: 1,
    },
    Goal {
        name: "S5",
        title: "Echo at `/echo/raw`: messages in a CPU-second, against a bare epoll echo",
        conditions: "Payloads of 64 bytes and 1 KiB; a connection sends its next messages in one write, when the last ones \
                     are back.",
        usual_s: 210,
    },
    Goal {
        name: "S6",
        title: "Echo through the whole protocol: publish, acknowledgement and message back, against `/echo/raw`",
        conditions: "Payloads of 64 bytes, each connection in a channel of its own, with presence and history.",
        usual_s: 55,
    },
    Goal {
        name: "S7",
        title: "Memory of an idle connection",
        conditions: "VmRSS against the same process before the second such round: what the first one leaves behind in the \
                     allocator is in both. The note has all four figures.",
        usual_s: 240,
    },
    Goal {
        name: "S8",
        title: "CPU of an idle connection",
        conditions: "Pings every 25 s, answered.",
        usual_s: 85,
    },
    Goal {
        name: "S9",
        title: "Latency at 100 000 deliveries a second, against a bare epoll broadcast under the same schedule",
        conditions: "From the time that the schedule meant, not from when it was sent; 1 000 subscribers, 100 messages a \
                     second, whatever became of the one before.",
        usual_s: 30,
    },
    Goal {
        name: "S10",
        title: "Everybody comes back at once and has missed 50 messages",
        conditions: "256 connections on their way at a time, from eight source addresses.",
        usual_s: 30,
    },
    Goal {
        name: "S11",
        title: "Growth from 10 to a million channels and connections",
        conditions: "The engine alone, without sockets, in one process: connections are virtual. *Near* goes to the same 10 \
                     channels and shows our structures; *spread* goes to all, and shows the processor's caches and page tables \
                     too: a bare table of as many names stands beside it, measured in the same blocks, and a bare walk over n \
                     messages, measured in the same run.",
        usual_s: 90,
    },
    Goal {
        name: "S12",
        title: "One subscriber of twenty stops reading",
        conditions: "What the kernel holds for a socket is counted. Pings every 600 s, and who does not read is cut after \
                     600 s, so that nobody is cut meanwhile.",
        usual_s: 120,
    },
    Goal {
        name: "S13",
        title: "Memory after a million connections",
        conditions: "From 64 source addresses, 500 at a time.",
        usual_s: 400,
    },
    Goal {
        name: "S14",
        title: "Compression: CPU of a delivery and memory, against the same uncompressed",
        conditions: "Payloads of 512 bytes, compressed once for all, no context of a connection. Memory as in S7.",
        usual_s: 180,
    },
    Goal {
        name: "S15",
        title: "An echo beside a channel of 18 000",
        conditions: "Echo and broadcast on one shard; payloads of 128 bytes in the channel, 23 in the echo.",
        usual_s: 75,
    },
    Goal {
        name: "S16",
        title: "Memory of an idle connection over TLS",
        conditions: "VmRSS with all of them against that with a tenth, in the same process; TLS 1.3, no pings.",
        usual_s: 45,
    },
    Goal {
        name: "S17",
        title: "Clients that come back over TLS: a session resumed, upgrade, token and `connect`, against a bare loop of rustls",
        conditions: "The floor resumes the same sessions of TLS 1.3, reads the same request and answers with as many bytes; it \
                     knows no HTTP and no token. 32 clients, each in a thread of its own.",
        usual_s: 50,
    },
];

/// The goal of this name.
pub(super) fn named(name: &str) -> Option<&'static Goal> {
    GOALS.iter().find(|goal| goal.name == name)
}
