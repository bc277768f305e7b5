//! The shard inbox under every interleaving that loom can find: nothing is lost, and no wake-up either.
//!
//! `RUSTFLAGS="--cfg loom" cargo test -p everwire-engine --release --test inbox_model`

#![cfg(loom)]

use everwire_engine::inbox::{HubKey, Inbox, Item, Pushed};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

fn item(index: u32) -> Item {
    Item::Live(HubKey { index, generation: 0 })
}

fn number(item: &Item) -> u32 {
    match item {
        Item::Live(key) => key.index,
        other => panic!("nobody pushed {other:?}"),
    }
}

/// What a shard sleeps on: told once, it looks again.
#[derive(Default)]
struct Bed {
    told: Mutex<bool>,
    told_changed: Condvar,
}

impl Bed {
    fn wake(&self) {
        *self.told.lock().unwrap() = true;
        self.told_changed.notify_one();
    }

    fn sleep(&self) {
        let mut told = self.told.lock().unwrap();
        while !*told {
            told = self.told_changed.wait(told).unwrap();
        }
        *told = false;
    }
}

/// A shard that takes until it has `wanted` items. A lost wake-up is a deadlock, which loom reports.
fn take_all(inbox: &Inbox, bed: &Bed, wanted: usize) -> Vec<u32> {
    let mut got = Vec::new();
    loop {
        let mut items = Vec::new();
        inbox.attend();
        inbox.take(&mut items);
        got.extend(items.iter().map(number));
        if got.len() == wanted {
            return got;
        }
        bed.sleep();
    }
}

fn inbox_and_bed(limit_bytes: usize) -> (Arc<Inbox>, Arc<Bed>) {
    let (inbox, bed) = (Arc::new(Inbox::new(limit_bytes)), Arc::new(Bed::default()));
    let sleeper = bed.clone();
    inbox.set_wake(move || sleeper.wake());
    (inbox, bed)
}

#[test]
fn two_producers_and_a_sleeping_shard() {
    loom::model(|| {
        let (inbox, bed) = inbox_and_bed(1 << 20);
        let producers = [1, 2].map(|index| {
            let inbox = inbox.clone();
            thread::spawn(move || inbox.push(item(index)))
        });
        let mut got = take_all(&inbox, &bed, 2);
        got.sort_unstable();
        assert_eq!(got, [1, 2]);
        for producer in producers {
            producer.join().unwrap();
        }
    });
}

#[test]
fn one_producer_keeps_its_order() {
    loom::model(|| {
        let (inbox, bed) = inbox_and_bed(1 << 20);
        let producer = {
            let inbox = inbox.clone();
            thread::spawn(move || (1..=3).for_each(|index| inbox.push(item(index))))
        };
        assert_eq!(take_all(&inbox, &bed, 3), [1, 2, 3]);
        producer.join().unwrap();
    });
}

/// What was refused for want of room was told so, and everything else arrives.
#[test]
fn a_full_inbox_loses_nothing_in_silence() {
    loom::model(|| {
        let (inbox, bed) = inbox_and_bed(0);
        let producer = {
            let inbox = inbox.clone();
            thread::spawn(move || {
                let first = inbox.push_within(item(1));
                let second = inbox.push_within(item(2));
                inbox.push(item(3));
                [first, second]
            })
        };
        let mut got = Vec::new();
        while got.last() != Some(&3) {
            let mut items = Vec::new();
            inbox.take(&mut items);
            got.extend(items.iter().map(number));
            if got.last() != Some(&3) {
                bed.sleep();
            }
        }
        let told = producer.join().unwrap();
        let expected: Vec<u32> = [(1, told[0] == Pushed::Taken), (2, told[1] == Pushed::Taken), (3, true)]
            .iter()
            .filter(|(_, in_)| *in_)
            .map(|(n, _)| *n)
            .collect();
        assert_eq!(got, expected);
    });
}
