//! The suite of the port.

use std::cell::RefCell;
use std::sync::Arc;

use everwire_brokers::answers::Answers;
use everwire_brokers::disk::{Disk, Sync};
use everwire_engine::inbox::Inbox;
use everwire_engine::ports::Broker;
use everwire_engine::testing::conformance;
use everwire_engine::time::Now;

use crate::rig::{Folder, now, settings};

/// A store in a folder of its own for each law.
fn on_disk(sync: Sync, check: impl Fn(conformance::Make<'_>) -> Result<(), String>) -> Result<(), String> {
    let folders = RefCell::new(Vec::new());
    check(&|shared, entropy| {
        let folder = Folder::new();
        let answers = Answers::new(shared, Arc::new(Inbox::new(1 << 20)));
        let disk = Disk::open(folder.path(), settings(sync), answers, entropy, now()).unwrap();
        folders.borrow_mut().push(folder);
        let broker: Arc<dyn Broker> = disk.clone();
        // Settled is what everything before has been through: a question to a channel of its own has its answer.
        let settle = move |now: Now| crate::rig::settle(&disk, now);
        (broker, Box::new(settle))
    })
}

#[test]
fn what_every_broker_must_do() {
    for sync in [Sync::Always, Sync::Interval(std::time::Duration::from_millis(1)), Sync::None] {
        assert_eq!(on_disk(sync, |make| conformance::check(make)), Ok(()), "{sync:?}");
        assert_eq!(on_disk(sync, |make| conformance::check_clear(make)), Ok(()), "{sync:?}");
    }
}
