//! The scenarios: each says what its connections do, and counts what never came.

mod arrivals;
mod fanout;
mod idle;
mod mixed;
mod recover;
mod roundtrip;

use self::arrivals::Arrivals;
use self::fanout::Fanout;
use self::idle::Idle;
use self::mixed::Mixed;
use self::recover::Recover;
use self::roundtrip::Roundtrip;
use super::plan::{Kind, Plan};
use super::run::Scenario;

/// The scenario of a plan, and how many connections are open before it begins.
pub fn of(plan: &Plan) -> (Box<dyn Scenario>, usize) {
    match plan.scenario {
        Kind::Fanout => (Box::new(Fanout::new(plan)), plan.publishers + plan.conns),
        Kind::Echo | Kind::Pingpong => (Box::new(Roundtrip::new(plan)), plan.conns),
        Kind::Connect | Kind::Churn => (Box::new(Arrivals::new(plan)), 0),
        Kind::Idle => (Box::new(Idle::new(plan)), plan.conns),
        Kind::Recover => (Box::new(Recover::new(plan)), plan.publishers + plan.conns),
        Kind::Mixed => (Box::new(Mixed::new(plan)), plan.conns),
    }
}
