//! Space comes back, and what is kept stays.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use everwire_brokers::disk::{Settings, Sync, segments};
use everwire_engine::channel::{HistoryLimits, Namespaces, Options};
use everwire_engine::inbox::Answer;
use everwire_engine::ports::Ask;
use everwire_proto::codes::ErrorCode;

use crate::rig::{Folder, Store, draft, later, now, settings, with_id};

/// Segments of a few messages, of which a channel keeps two.
fn small() -> Settings {
    let history = Some(HistoryLimits { messages: 2, ..HistoryLimits::default() });
    let namespaces = Namespaces {
        default: Some(Arc::new(Options { history, ..Options::open() })),
        ..Namespaces::default()
    };
    Settings { segment_bytes: 2_000, namespaces, ..settings(Sync::None) }
}

fn open(folder: &Folder) -> Store {
    let mut store = Store::open_with(folder.path(), small(), now()).unwrap();
    store.history.messages = 2;
    store
}

fn bytes(dir: &Path) -> u64 {
    segments(dir).unwrap().iter().filter_map(|path| std::fs::metadata(path).ok()).map(|file| file.len()).sum()
}

#[test]
fn segments_that_hold_nothing_go_and_what_is_kept_stays() {
    let folder = Folder::new();
    let mut store = open(&folder);
    // Three that are never written again: their messages, an id and a place without messages stand in the first segment.
    let old = store.publish("old", "stays");
    let (named, _) = store.publish_draft("named", with_id("goes", "m1"));
    let quiet = store.page("quiet").position;
    for text in ["a", "b"] {
        store.publish("named", text);
    }
    let first = segments(folder.path()).unwrap()[0].clone();
    let mut count = 0;
    let busy = |store: &mut Store, count: &mut u64, more: u64| {
        for _ in 0..more {
            *count += 1;
            store.publish("busy", &count.to_string());
        }
    };
    busy(&mut store, &mut count, 15);
    // From now on each segment holds something that is kept, and more that is not.
    for number in 0..100 {
        store.publish(&format!("old-{number}"), "stays");
        busy(&mut store, &mut count, 5);
    }
    let before = bytes(folder.path());
    let begun = Instant::now();
    while first.exists() || bytes(folder.path()) > before * 3 / 4 {
        assert!(begun.elapsed() < Duration::from_secs(30), "{} bytes, from {before}", bytes(folder.path()));
        std::thread::yield_now();
    }
    let look = |store: &mut Store| {
        assert_eq!(store.kept("old"), [(1, "stays".to_owned())]);
        assert_eq!(store.kept("named"), [(2, "a".to_owned()), (3, "b".to_owned())]);
        assert_eq!(store.publish_draft("named", with_id("again", "m1")), (named.clone(), true));
        assert_eq!(store.page("quiet").position, quiet);
        let newest = [count - 1, count].map(|n| (n, n.to_string()));
        assert_eq!(store.kept("busy"), newest);
        for number in 0..100 {
            assert_eq!(store.kept(&format!("old-{number}")), [(1, "stays".to_owned())]);
        }
    };
    look(&mut store);
    drop(store);
    let mut store = open(&folder);
    look(&mut store);
    assert_eq!(store.publish("old", "next").epoch, old.epoch);
}

#[test]
fn what_was_cleared_stays_so_when_its_segment_goes() {
    let folder = Folder::new();
    let mut store = open(&folder);
    store.publish("cleared", "goes");
    let cleared = store.clear("cleared");
    store.publish("anew", "goes");
    store.clear("anew");
    let first = segments(folder.path()).unwrap()[0].clone();
    let busy = |store: &mut Store| (0..100).for_each(|n| drop(store.publish("busy", &format!("{n}"))));
    busy(&mut store);
    // The record of its clearing is needed no longer: that nothing stands where it was is enough.
    store.publish("anew", "stays");
    busy(&mut store);
    let begun = Instant::now();
    while first.exists() {
        assert!(begun.elapsed() < Duration::from_secs(30), "the first segment stays");
        std::thread::yield_now();
    }
    let look = |store: &mut Store| {
        let page = store.page("cleared");
        assert_eq!((page.entries.len(), &page.position, &page.floor), (0, &cleared, &cleared));
        assert_eq!(store.kept("anew"), [(3, "stays".to_owned())]);
    };
    look(&mut store);
    drop(store);
    look(&mut open(&folder));
}

/// A store that has its bytes is like a medium that is full: what comes is refused, what was acknowledged is kept, what
/// is repeated is known; and when old messages have gone there is room again.
#[test]
fn a_store_that_has_its_bytes_refuses_and_forgets_nothing() {
    let folder = Folder::new();
    let limited = |max_bytes| Settings { max_bytes, segment_bytes: 2_000, ..settings(Sync::None) };
    let mut store = Store::open_with(folder.path(), limited(20_000), now()).unwrap();
    let (first, _) = store.publish_draft("room", with_id("first", "m"));
    let cell = store.cell("room");
    let mut acknowledged = 1;
    let code = loop {
        let number = store.ask(&cell, Ask::Publish(draft(&"x".repeat(100))));
        match store.answer(number) {
            Answer::Published { .. } => acknowledged += 1,
            Answer::Failed(code) => break code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, ErrorCode::Overloaded);
    assert!(store.disk.trouble().unwrap().contains("max_bytes"), "{:?}", store.disk.trouble());
    assert!(bytes(folder.path()) < 24_000, "{}", bytes(folder.path()));
    assert_eq!(store.kept("room").len(), acknowledged, "nothing was let go");
    assert_eq!(store.publish_draft("room", with_id("first", "m")), (first, true));
    drop(store);
    // After ten minutes all of it is too old.
    let mut store = Store::open_with(folder.path(), limited(20_000), later(601_000)).unwrap();
    let begun = Instant::now();
    while store.disk.trouble().is_some() || bytes(folder.path()) > 10_000 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{} bytes", bytes(folder.path()));
        assert_eq!(store.kept("room"), []);
    }
    assert_eq!(store.publish("room", "next").offset, acknowledged as u64 + 1);
}

/// The machine went down while messages were acknowledged that were not on the medium: perhaps some are missing, so no
/// client may go on as if none were.
#[test]
fn after_a_loss_of_power_lazy_streams_have_new_epochs() {
    for (sync, renewed) in [(Sync::None, true), (Sync::Always, false)] {
        let folder = Folder::new();
        let mut store = Store::open_with(folder.path(), settings(sync), now()).unwrap();
        let before = store.publish("room", "a");
        let log = segments(folder.path()).unwrap()[0].clone();
        let killed = std::fs::read(&log).unwrap();
        drop(store);
        // In the boot that it was written in a killed process has lost nothing.
        let open = |bytes: &[u8]| {
            let folder = Folder::new();
            std::fs::write(folder.path().join("0000000001.log"), bytes).unwrap();
            (Store::open_with(folder.path(), settings(sync), later(1_000)).unwrap(), folder)
        };
        let (mut store, _folder) = open(&killed);
        assert!(!store.disk.start.renewed);
        assert_eq!(store.page("room").position, before);
        let (mut store, folder) = open(&in_another_boot(&killed));
        assert_eq!(store.disk.start.renewed, renewed, "{sync:?}");
        assert_eq!(store.page("room").position.epoch != before.epoch, renewed, "{sync:?}");
        assert_eq!(store.kept("room"), [(1, "a".to_owned())], "what is there is kept");
        let next = store.publish("room", "b");
        assert_eq!(next.offset, 2);
        drop(store);
        let mut store = Store::open_with(folder.path(), settings(sync), later(2_000)).unwrap();
        assert_eq!(store.page("room").position, next, "and the next start knows it");
        assert_eq!(store.kept("room").len(), 2);
    }
}

/// The same log with another name of the boot in it.
fn in_another_boot(log: &[u8]) -> Vec<u8> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot = boot.trim().as_bytes();
    let at = log.windows(boot.len()).position(|bytes| bytes == boot).unwrap();
    let mut log = log.to_vec();
    log[at] = if log[at] == b'0' { b'1' } else { b'0' };
    // The batch that it stands in is sealed anew: its checksum begins with the segment's salt.
    let start = 72;
    let len =
        20 + usize::try_from(u32::from_le_bytes(log[start + 4..start + 8].try_into().unwrap())).unwrap();
    let mut summed = log[24..32].to_vec();
    summed.extend_from_slice(&log[start..start + 8]);
    summed.extend_from_slice(&log[start + 12..start + len]);
    let sum = crate::media::crc32(&summed);
    log[start + 8..start + 12].copy_from_slice(&sum.to_le_bytes());
    log
}

/// A folder that can't be written, and one that is no folder, are told before anything runs.
#[test]
fn a_place_that_can_not_be_used_is_named() {
    let folder = Folder::new();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    for path in [file.clone(), file.join("below")] {
        let error = Store::open_with(&path, settings(Sync::Always), now()).err().unwrap();
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
    }
}

#[test]
fn publishes_that_wait_at_the_end_are_stored() {
    let folder = Folder::new();
    let mut store = Store::open(folder.path());
    let cell = store.cell("room");
    for number in 0..1_000 {
        store.ask(&cell, Ask::Publish(draft(&number.to_string())));
    }
    drop(store);
    assert_eq!(Store::open(folder.path()).kept("room").len(), 1_000);
}
