//! The fuzz targets of this crate on the committed corpus.
#![allow(unreachable_pub, reason = "the file belongs to a library too")]

use std::fs;
use std::path::Path;

#[path = "../../../fuzz/src/names.rs"]
mod names;

#[test]
fn the_corpus_holds() {
    for (target, body) in names::TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target);
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut played = 0;
        for entry in entries {
            let path = entry.expect("it can be read").path();
            println!("{}", path.display());
            body(&fs::read(&path).expect("it can be read"));
            played += 1;
        }
        assert!(played >= 5, "{target} has only {played} files");
    }
}
