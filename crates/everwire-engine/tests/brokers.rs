//! The suite that every broker must pass, on those of this crate.

use std::sync::Arc;

use everwire_engine::memory::Memory;
use everwire_engine::plant::{Bug, plant};
use everwire_engine::ports::Broker;
use everwire_engine::testing::{conformance, simulated_broker};
use everwire_engine::time::Now;

fn memory() -> Result<(), String> {
    conformance::check(&|shared, entropy| {
        let broker: Arc<dyn Broker> = Arc::new(Memory::new(shared, entropy));
        (broker, Box::new(|_: Now| ()))
    })
}

#[test]
fn the_broker_in_the_process() {
    assert_eq!(memory(), Ok(()));
    let forgets = conformance::check_clear(&|shared, entropy| {
        let broker: Arc<dyn Broker> = Arc::new(Memory::new(shared, entropy));
        (broker, Box::new(|_: Now| ()))
    });
    assert_eq!(forgets, Ok(()));
}

#[test]
fn the_simulated_broker() {
    assert_eq!(conformance::check(&|shared, _| simulated_broker(shared)), Ok(()));
}

#[test]
fn a_broker_that_forgets_ids_is_caught() {
    plant(Some(Bug::ForgetMessageId));
    let outcome = memory();
    plant(None);
    assert!(outcome.is_err_and(|how| how.starts_with("a message id is stored once")));
}
