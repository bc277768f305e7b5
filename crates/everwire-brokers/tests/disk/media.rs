//! Media that fail, and files that are not what they were.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

use everwire_brokers::disk::{Medium, OpenError, Repaired, Sync, Wrap, check, repair, segments};
use everwire_engine::inbox::Answer;
use everwire_engine::ports::Ask;
use everwire_proto::codes::ErrorCode;

use crate::rig::{Folder, Store, draft, now, settings, with_id};

/// What is wrong with a medium.
#[derive(Default)]
struct Faults {
    /// Bytes that still fit.
    room: AtomicI64,
    kind: AtomicU8,
}

const FULL: u8 = 1;
const NO_SYNC: u8 = 2;
const READ_ONLY: u8 = 3;

struct Faulty(File, Arc<Faults>);

impl Medium for Faulty {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.1.kind.load(Ordering::SeqCst) {
            FULL => {
                // As a file system does: what fits is written.
                let room = usize::try_from(self.1.room.load(Ordering::SeqCst)).unwrap();
                Medium::append(&mut self.0, &bytes[..room.min(bytes.len())])?;
                Err(io::ErrorKind::StorageFull.into())
            }
            READ_ONLY => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            _ => Medium::append(&mut self.0, bytes),
        }
    }
    fn sync(&mut self) -> io::Result<()> {
        match self.1.kind.load(Ordering::SeqCst) {
            NO_SYNC => Err(io::Error::from_raw_os_error(5)),
            _ => Medium::sync(&mut self.0),
        }
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        match self.1.kind.load(Ordering::SeqCst) {
            READ_ONLY => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            _ => Medium::cut(&mut self.0, len),
        }
    }
}

fn refused(store: &mut Store, text: &str) -> ErrorCode {
    let cell = store.cell("room");
    let number = store.ask(&cell, Ask::Publish(with_id(text, text)));
    match store.answer(number) {
        Answer::Failed(code) => code,
        other => panic!("{other:?}"),
    }
}

/// Whatever fails and however much of a batch was written: the publish is refused, nobody hears of it, nothing is lost, and
/// the next one has its offset and may have its id.
#[test]
fn a_medium_that_fails_loses_nothing() {
    let cases = [
        (FULL, 0, ErrorCode::Overloaded),
        (FULL, 7, ErrorCode::Overloaded),
        (FULL, 60, ErrorCode::Overloaded),
    ];
    let cases =
        cases.into_iter().chain([(NO_SYNC, 0, ErrorCode::Internal), (READ_ONLY, 0, ErrorCode::Internal)]);
    for (kind, room, code) in cases {
        let folder = Folder::new();
        let faults = Arc::new(Faults::default());
        let between = faults.clone();
        let wrap: Wrap = Box::new(move |file| Box::new(Faulty(file, between.clone())));
        let mut store = Store::open_on(folder.path(), settings(Sync::Always), now(), wrap).unwrap();
        let cell = store.cell("room");
        store.listen(&cell);
        store.publish("room", "a");
        faults.room.store(room, Ordering::SeqCst);
        faults.kind.store(kind, Ordering::SeqCst);
        assert_eq!(refused(&mut store, "b"), code, "{kind}");
        assert_eq!(refused(&mut store, "b"), code, "{kind}: again");
        assert_eq!(store.kept("room"), [(1, "a".to_owned())], "what is there can be read");
        assert!(store.disk.trouble().is_some_and(|words| words.contains("refused")), "{kind}");
        faults.kind.store(0, Ordering::SeqCst);
        let (position, duplicate) = store.publish_draft("room", with_id("b", "b"));
        assert_eq!((position.offset, duplicate), (2, false), "{kind}");
        assert_eq!(store.heard(2), [1, 2], "{kind}");
        drop(store);
        let mut store = Store::open(folder.path());
        assert_eq!(store.disk.start.torn, 0);
        assert_eq!(store.kept("room"), [(1, "a".to_owned()), (2, "b".to_owned())], "{kind}");
    }
}

/// A channel whose epoch could not be written is not told: a restart would not know it.
#[test]
fn a_new_channel_on_a_full_medium_is_refused() {
    let folder = Folder::new();
    let faults = Arc::new(Faults::default());
    let between = faults.clone();
    let wrap: Wrap = Box::new(move |file| Box::new(Faulty(file, between.clone())));
    let mut store = Store::open_on(folder.path(), settings(Sync::Always), now(), wrap).unwrap();
    faults.kind.store(FULL, Ordering::SeqCst);
    let cell = store.cell("fresh");
    let number = store.ask(&cell, Ask::History(everwire_engine::channel::HistoryQuery::default()));
    assert!(matches!(store.answer(number), Answer::Failed(ErrorCode::Overloaded)));
    faults.kind.store(0, Ordering::SeqCst);
    let position = store.page("fresh").position;
    drop(store);
    assert_eq!(Store::open(folder.path()).page("fresh").position, position);
}

/// Whoever is told that the store fails sends it nothing: it finds out by itself that it can be written again.
#[test]
fn a_medium_that_is_well_again_is_noticed_without_a_publish() {
    for kind in [FULL, NO_SYNC, READ_ONLY] {
        let folder = Folder::new();
        let faults = Arc::new(Faults::default());
        let between = faults.clone();
        let wrap: Wrap = Box::new(move |file| Box::new(Faulty(file, between.clone())));
        let mut store = Store::open_on(folder.path(), settings(Sync::Always), now(), wrap).unwrap();
        store.publish("room", "a");
        assert_eq!(store.disk.trouble(), None);
        faults.kind.store(kind, Ordering::SeqCst);
        refused(&mut store, "b");
        let tried = store.disk.figures().syncs.iter().sum::<u64>();
        faults.kind.store(0, Ordering::SeqCst);
        let begun = std::time::Instant::now();
        while store.disk.trouble().is_some() {
            assert!(begun.elapsed() < std::time::Duration::from_secs(20), "{kind}");
            std::thread::yield_now();
        }
        assert_eq!(store.disk.figures().syncs.iter().sum::<u64>(), tried, "no batch was written for it");
        store.publish("room", "b");
        drop(store);
        let mut store = Store::open(folder.path());
        assert_eq!((store.disk.start.torn, store.kept("room").len()), (0, 2), "{kind}");
    }
}

/// The real thing: a device that is always full.
#[test]
fn a_full_device_is_overloaded() {
    let folder = Folder::new();
    let opened = Arc::new(AtomicU8::new(0));
    let count = opened.clone();
    let wrap: Wrap = Box::new(move |file| {
        count.fetch_add(1, Ordering::SeqCst);
        Box::new(Devoured(file, File::options().write(true).open("/dev/full").unwrap(), false))
    });
    let mut store = Store::open_on(folder.path(), settings(Sync::Always), now(), wrap).unwrap();
    assert_eq!(refused(&mut store, "a"), ErrorCode::Overloaded);
    assert_eq!(opened.load(Ordering::SeqCst), 1);
}

/// Takes its first batch, and writes all others to another device.
struct Devoured(File, File, bool);

impl Medium for Devoured {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let full = std::mem::replace(&mut self.2, true);
        Medium::append(if full { &mut self.1 } else { &mut self.0 }, bytes)
    }
    fn sync(&mut self) -> io::Result<()> {
        Medium::sync(&mut self.0)
    }
    fn cut(&mut self, len: u64) -> io::Result<()> {
        Medium::cut(&mut self.0, len)
    }
}

/// Three messages, each in a batch of its own, from a process that was killed: the bytes of the log, and where the last
/// batch begins.
fn killed(folder: &Folder) -> (Vec<u8>, usize) {
    let mut store = Store::open(folder.path());
    store.publish("room", "a");
    store.publish("room", "b");
    let before = log(folder.path()).len();
    store.publish("room", "c");
    (log(folder.path()), before)
}

fn log(dir: &Path) -> Vec<u8> {
    std::fs::read(segments(dir).unwrap().pop().unwrap()).unwrap()
}

fn folder_with(bytes: &[u8]) -> Folder {
    let folder = Folder::new();
    std::fs::write(folder.path().join("0000000001.log"), bytes).unwrap();
    folder
}

fn open(folder: &Folder) -> Result<Store, OpenError> {
    Store::open_with(folder.path(), settings(Sync::Always), now())
}

/// Wherever a write was cut off, all that was acknowledged before it is there, and the log goes on.
#[test]
fn a_tail_cut_at_any_byte_is_dropped() {
    let (bytes, last) = killed(&Folder::new());
    let room =
        |count: usize| ["a", "b", "c", "d"][..count].iter().map(|t| (*t).to_owned()).collect::<Vec<_>>();
    let texts = |store: &mut Store| store.kept("room").into_iter().map(|(_, text)| text).collect::<Vec<_>>();
    for cut in last..=bytes.len() {
        let folder = folder_with(&bytes[..cut]);
        let mut store = open(&folder).unwrap();
        let whole = cut == bytes.len();
        assert_eq!(texts(&mut store), room(if whole { 3 } else { 2 }), "cut at {cut}");
        assert_eq!(store.disk.start.torn, if whole { 0 } else { (cut - last) as u64 }, "cut at {cut}");
        let next = store.publish("room", "d").offset;
        assert_eq!(next, if whole { 4 } else { 3 }, "cut at {cut}");
        drop(store);
        let mut store = open(&folder).unwrap();
        assert_eq!(store.disk.start.torn, 0);
        assert_eq!(texts(&mut store).last(), Some(&"d".to_owned()), "cut at {cut}");
    }
}

/// A flipped bit before the last batch is damage, told with the repair; nothing is changed.
#[test]
fn damage_is_an_error_that_names_the_repair() {
    let (bytes, last) = killed(&Folder::new());
    for at in (0..last).step_by(3) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x40;
        let folder = folder_with(&bytes);
        let error = open(&folder).err().unwrap_or_else(|| panic!("flipped at {at}, and nothing was said"));
        let words = error.to_string();
        if (16..20).contains(&at) || matches!(error, OpenError::Damaged { .. }) {
            assert!(words.contains("everwire history repair") || words.contains("format"), "{at}: {words}");
        } else {
            panic!("flipped at {at}: {words}");
        }
        assert_eq!(log(folder.path()), bytes, "nothing was changed");
    }
}

/// Wherever a byte is wrong: what can be read is saved, under another epoch, and the old file is still there.
#[test]
fn a_repair_saves_what_can_be_read() {
    let original = Folder::new();
    let (bytes, last) = killed(&original);
    let epoch = open(&original).unwrap().page("room").position.epoch;
    for at in (0..last).step_by(5) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        let folder = folder_with(&bytes);
        if matches!(open(&folder).err(), Some(OpenError::Version { .. })) {
            continue;
        }
        let checked = check(folder.path()).unwrap();
        assert_eq!(checked.damaged.len(), 1, "flipped at {at}");
        let done = repair(folder.path(), 5, 6).unwrap();
        let aside = done.aside.unwrap().join("0000000001.log");
        assert_eq!(std::fs::read(aside).unwrap(), bytes, "flipped at {at}");
        assert_eq!(check(folder.path()).unwrap().damaged, []);
        let mut store = open(&folder).unwrap();
        let kept = store.kept("room");
        assert_eq!(kept.last(), Some(&(3, "c".to_owned())), "flipped at {at}");
        assert!(!kept.is_empty() && kept.len() as u64 <= done.messages, "flipped at {at}: {kept:?}");
        assert_ne!(store.page("room").position.epoch, epoch, "clients are told");
        assert_eq!(store.publish("room", "d").offset, 4);
    }
    assert_eq!(repair(original.path(), 5, 6).unwrap(), Repaired::default(), "a sound one is left alone");
}

/// Whoever names the wrong folder is told so, and nothing is left in it.
#[test]
fn a_folder_without_a_history_stays_as_it_is() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.path()).unwrap();
    for error in [check(folder.path()).err(), repair(folder.path(), 5, 6).err()] {
        assert!(matches!(error, Some(OpenError::Missing(_))), "{error:?}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// After an end in order nothing may be missing at the end either.
#[test]
fn after_an_end_in_order_a_damaged_tail_is_damage_too() {
    let folder = Folder::new();
    let mut store = Store::open(folder.path());
    store.publish("room", "a");
    let acknowledged = log(folder.path()).len();
    drop(store);
    let bytes = log(folder.path());
    for at in (acknowledged - 10)..acknowledged {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1;
        assert!(
            matches!(open(&folder_with(&bytes)).err(), Some(OpenError::Damaged { .. })),
            "flipped at {at}"
        );
    }
}

/// A segment that is not the newest was whole before the next one was made.
#[test]
fn an_older_segment_has_no_torn_tail() {
    let folder = Folder::new();
    let mut small = settings(Sync::None);
    small.segment_bytes = 200;
    let mut store = Store::open_with(folder.path(), small, now()).unwrap();
    (0..5).for_each(|_| drop(store.publish("room", "a")));
    drop(store);
    let all = segments(folder.path()).unwrap();
    assert!(all.len() > 2, "{all:?}");
    let first = std::fs::read(&all[0]).unwrap();
    std::fs::write(&all[0], &first[..first.len() - 1]).unwrap();
    assert!(matches!(open(&folder).err(), Some(OpenError::Damaged { .. })));
    std::fs::write(&all[0], &first).unwrap();
    assert_eq!(open(&folder).unwrap().kept("room").len(), 5);
}

/// A crash while a segment was made leaves a part of its header.
#[test]
fn a_segment_that_was_never_finished_is_made_anew() {
    let folder = Folder::new();
    let mut store = Store::open(folder.path());
    store.publish("room", "a");
    drop(store);
    let next = folder.path().join("0000000002.log");
    for part in [&b""[..], b"everwire his"] {
        std::fs::write(&next, part).unwrap();
        assert_eq!(open(&folder).unwrap().kept("room").len(), 1);
    }
}

#[test]
fn another_format_is_named() {
    let folder = Folder::new();
    drop(Store::open(folder.path()));
    let mut bytes = log(folder.path());
    bytes[16] = 9;
    let sum = crc32(&bytes[..32]);
    bytes[32..36].copy_from_slice(&sum.to_le_bytes());
    let copy = bytes[..36].to_vec();
    bytes[36..72].copy_from_slice(&copy);
    let error = open(&folder_with(&bytes)).err().unwrap();
    assert!(matches!(error, OpenError::Version { found: 9, known: 1, .. }), "{error}");
}

/// The checksum of ISO 3309, bit by bit: another hand than the store's.
pub fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
}

/// Not acknowledged is not heard: a listener hears a message when it is stored, not when it is written.
#[test]
fn nobody_hears_of_what_was_not_stored() {
    let folder = Folder::new();
    let faults = Arc::new(Faults::default());
    let between = faults.clone();
    let wrap: Wrap = Box::new(move |file| Box::new(Faulty(file, between.clone())));
    let mut store = Store::open_on(folder.path(), settings(Sync::Always), now(), wrap).unwrap();
    let cell = store.cell("room");
    store.listen(&cell);
    faults.kind.store(NO_SYNC, Ordering::SeqCst);
    assert_eq!(refused(&mut store, "a"), ErrorCode::Internal);
    faults.kind.store(0, Ordering::SeqCst);
    let number = store.ask(&cell, Ask::Publish(draft("b")));
    assert!(matches!(store.answer(number), Answer::Published { .. }));
    assert_eq!(store.heard(1), [1], "the one that was stored, with the first offset");
}
