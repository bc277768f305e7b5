//! `everwire bench`: a load on any WebSocket server, and what came of it.
//!
//! Read first: [`plan::Plan`], [`run::Scenario`], [`outcome::Outcome`].

// Bottom to top.
pub mod schedule;
pub mod zipf;
pub mod sequence;
pub mod plan;
pub mod tally;
pub mod listener;
pub mod secrets;
pub mod gauge;
pub mod target;
pub mod outcome;
pub mod meter;
pub mod table;
pub mod assertion;
pub mod compare;
pub mod report;
pub mod progress;
pub mod publication;
pub mod run;
pub mod scenario;
pub mod args;
pub mod perform;
pub mod yardstick;
