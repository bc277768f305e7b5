//! The fuzz targets on the committed corpus: every former finding stays one, without the fuzzer.
#![allow(unreachable_pub, reason = "the file belongs to a library too")]

use std::fs;
use std::path::{Path, PathBuf};

#[path = "../../../fuzz/src/wire.rs"]
mod wire;

/// Targets whose corpus a test of another crate plays.
const ELSEWHERE: [&str; 1] = ["channel"];

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let name = |path: PathBuf| path.file_stem().expect("an entry has a name").to_string_lossy().into_owned();
    let mut names: Vec<_> = entries.map(|entry| name(entry.expect("it can be read").path())).collect();
    names.sort();
    names
}

#[test]
fn every_target_has_a_program_and_a_corpus() {
    let mut targets: Vec<_> = wire::TARGETS.iter().map(|(name, _)| *name).chain(ELSEWHERE).collect();
    targets.sort_unstable();
    assert_eq!(names(&fuzz().join("fuzz_targets")), targets);
    assert_eq!(names(&fuzz().join("corpus")), targets);
}

#[test]
fn the_corpus_holds() {
    for (target, body) in wire::TARGETS {
        let folder = fuzz().join("corpus").join(target);
        let mut played = 0;
        for entry in fs::read_dir(&folder).expect("a target has a corpus") {
            let path = entry.expect("it can be read").path();
            let bytes = fs::read(&path).expect("it can be read");
            println!("{}", path.display());
            body(&bytes);
            // Its neighbours are cheap: each file cut at every byte, and with every bit changed.
            for at in 0..bytes.len() {
                body(&bytes[..at]);
            }
            let mut changed = bytes.clone();
            for bit in 0..8 * bytes.len().min(512) {
                changed[bit / 8] ^= 1 << (bit % 8);
                body(&changed);
                changed[bit / 8] ^= 1 << (bit % 8);
            }
            played += 1;
        }
        assert!(played >= 5, "{target} has only {played} files");
    }
}
