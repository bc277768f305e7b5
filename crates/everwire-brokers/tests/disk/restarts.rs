//! What a restart finds.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use everwire_brokers::disk::{OpenError, Sync};

use crate::rig::{Folder, Store, later, now, settings, with_id};

#[test]
fn epochs_offsets_messages_and_ids_are_kept() {
    let folder = Folder::new();
    let mut store = Store::open(folder.path());
    let first = store.publish("room", "a");
    let (second, _) = store.publish_draft("room", with_id("b", "m1"));
    let quiet = store.page("quiet").position;
    drop(store);
    let mut store = Store::open_with(folder.path(), settings(Sync::Always), later(1_000)).unwrap();
    assert_eq!(store.kept("room"), [(1, "a".to_owned()), (2, "b".to_owned())]);
    assert_eq!(store.publish_draft("room", with_id("again", "m1")), (second, true));
    let third = store.publish("room", "c");
    assert_eq!((third.epoch, third.offset), (first.epoch, 3));
    assert_eq!(store.page("quiet").position, quiet, "a channel without messages has its epoch too");
}

#[test]
fn what_is_too_old_is_gone_after_a_restart_but_its_place_is_not() {
    let folder = Folder::new();
    let mut store = Store::open(folder.path());
    let (old, _) = store.publish_draft("room", with_id("a", "m1"));
    drop(store);
    let mut store = Store::open_with(folder.path(), settings(Sync::Always), later(3_600_000)).unwrap();
    let page = store.page("room");
    assert_eq!((page.entries.len(), &page.position, &page.floor), (0, &old, &old));
    let (position, duplicate) = store.publish_draft("room", with_id("b", "m1"));
    assert_eq!(
        (position.epoch, position.offset, duplicate),
        (old.epoch, 2, false),
        "five minutes have passed"
    );
}

#[test]
fn what_was_cleared_stays_so() {
    let folder = Folder::new();
    let mut store = Store::open(folder.path());
    store.publish("room", "a");
    let (second, _) = store.publish_draft("room", with_id("b", "m1"));
    let cleared = store.clear("room");
    assert_eq!((cleared.offset, &cleared.epoch), (3, &second.epoch));
    assert_eq!(store.kept("room"), []);
    drop(store);
    let mut store = Store::open_with(folder.path(), settings(Sync::Always), later(1_000)).unwrap();
    let page = store.page("room");
    assert_eq!((page.entries.len(), &page.position, &page.floor), (0, &cleared, &cleared));
    assert_eq!(store.publish_draft("room", with_id("b", "m1")), (second, true), "the id is known still");
    assert_eq!(store.publish("room", "c").offset, 4);
    drop(store);
    let mut store = Store::open_with(folder.path(), settings(Sync::Always), later(2_000)).unwrap();
    assert_eq!(store.kept("room"), [(4, "c".to_owned())], "also where messages follow");
}

#[test]
fn a_folder_belongs_to_one_process() {
    let folder = Folder::new();
    let store = Store::open(folder.path());
    let second = Store::open_with(folder.path(), settings(Sync::Always), now());
    assert!(matches!(second.err(), Some(OpenError::Locked(_))));
    drop(store);
    Store::open(folder.path());
}

#[test]
fn nobody_else_may_read_it() {
    let folder = Folder::new();
    let data = folder.path().join("made/with/it");
    Store::open(&data).publish("room", "a");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!([mode(&data), mode(data.parent().unwrap())], [0o700; 2]);
    let files: Vec<_> = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= 2, "a lock and a segment: {files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_new_listener_begins_with_what_is_kept() {
    let folder = Folder::new();
    let mut store = Store::open(folder.path());
    for text in ["a", "b", "c"] {
        store.publish("room", text);
    }
    drop(store);
    let mut store = Store::open(folder.path());
    let cell = store.cell("room");
    store.listen(&cell);
    let wanted = everwire_engine::channel::Wanted {
        since: Some(everwire_proto::position::Position { offset: 1, ..cell.top() }),
        rewind: None,
    };
    let located = cell.locate(&wanted, store.now);
    assert_eq!((located.recovered, located.replaying, located.fetch), (Some(true), Some(2), false));
    store.publish("room", "d");
    assert_eq!(store.heard(1), [4], "live are only those that came since");
}
