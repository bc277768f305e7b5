//! Whole nodes under faults: the promises of the protocol, checked at every step, over many seeds.
//!
//! `EVERWIRE_SIM_FROM`, `EVERWIRE_SIM_SEEDS` and `EVERWIRE_SIM_STEPS` change which seeds run, and how long.

#![allow(clippy::print_stdout, reason = "what was seen is worth reading when a run fails")]

use everwire_engine::plant::{Bug, plant};
use everwire_engine::testing::{Plan, Report, World, run};

const STEPS: u64 = 2_000;

/// In so many seeds each planted bug must be caught.
const SEEDS: u64 = 100;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |text| text.parse().expect("a number"))
}

/// Runs the seeds and fails with the first broken promise, or where too little happened to prove anything.
fn seeds(world: World, count: u64) -> Report {
    let (from, count) = (setting("EVERWIRE_SIM_FROM", 1), setting("EVERWIRE_SIM_SEEDS", count));
    let steps = setting("EVERWIRE_SIM_STEPS", STEPS);
    let plan = |seed| Plan { seed, steps: usize::try_from(steps).expect("it fits"), world };
    let mut total = Report::default();
    for seed in from..from + count {
        match run(&plan(seed)) {
            Ok(report) => total.add(&report),
            Err(failure) => panic!("{world:?}: {failure}"),
        }
    }
    println!("{world:?}, {count} seeds of {steps} steps: {total:#?}");
    // A handful of seeds is somebody looking at one failure.
    if count >= 20 {
        assert_eq!(total.shortage(count), Vec::<&str>::new(), "{world:?}: seen too seldom in {total:#?}");
    }
    total
}

#[test]
fn one_node_keeps_its_promises() {
    seeds(World::Memory, 100);
}

#[test]
fn nodes_on_a_faulty_broker_keep_their_promises() {
    let total = seeds(World::Brokered, 60);
    let faults =
        [total.link_breaks, total.link_losses, total.link_doubles, total.link_reorders, total.lost_pasts];
    assert!(faults.iter().all(|seen| *seen >= setting("EVERWIRE_SIM_SEEDS", 60) / 3), "{total:#?}");
}

/// Seeds of long runs that found something once.
#[test]
fn what_was_found_once_is_not_found_again() {
    for (world, seed) in [
        (World::Brokered, 196),
        (World::Brokered, 548),
        (World::Brokered, 2_761),
        (World::Memory, 2_163),
        (World::Memory, 9_205),
    ] {
        assert_eq!(run(&Plan { seed, steps: 2_000, world }).err(), None, "{world:?}");
    }
}

#[test]
fn a_seed_gives_the_same_run_each_time() {
    for world in [World::Memory, World::Brokered] {
        let plan = Plan { seed: 7, steps: 2_000, world };
        assert_eq!(run(&plan), run(&plan), "{world:?}");
    }
}

/// Bugs that only a broker outside brings to light. All others are caught on one node.
const OUTSIDE: [Bug; 6] = [
    Bug::AheadUnasked,
    Bug::RoomGone,
    Bug::PageOfAnyEpoch,
    Bug::MuteForgottenOnPages,
    Bug::TopUnchecked,
    Bug::UnknownFollows,
];

/// Plants each bug and runs seeds until one breaks a promise.
fn catch(bugs: &[Bug], world: World) {
    let only = std::env::var("EVERWIRE_SIM_BUG").ok();
    let mut missed = Vec::new();
    for bug in bugs.iter().filter(|bug| only.as_ref().is_none_or(|only| *only == format!("{bug:?}"))) {
        plant(Some(*bug));
        let caught = (1..=SEEDS).find_map(|seed| run(&Plan { seed, steps: 2_000, world }).err());
        plant(None);
        match caught {
            Some(caught) => println!("{bug:?}: {caught}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not caught in {SEEDS} seeds: {missed:?}");
}

#[test]
fn planted_bugs_are_caught_on_one_node() {
    let bugs: Vec<_> = Bug::ALL.iter().copied().filter(|bug| !OUTSIDE.contains(bug)).collect();
    assert_eq!(bugs.len() + OUTSIDE.len(), Bug::ALL.len());
    catch(&bugs, World::Memory);
}

#[test]
fn planted_bugs_are_caught_on_a_broker() {
    catch(&OUTSIDE, World::Brokered);
}
