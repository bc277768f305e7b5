//! Words on the wire. No clock, no I/O.
