//! Names that say nothing: a thing called so is a drawer that fills up.

use super::Faults;
use crate::scan::Kind;
use crate::tree::Tree;

const EMPTY: [&str; 13] = [
    "util",
    "utils",
    "common",
    "helper",
    "helpers",
    "misc",
    "manager",
    "managers",
    "handler",
    "handlers",
    "processor",
    "processors",
    "base",
];

/// Looks at the names of files and folders, crates, modules and types, in Rust and in JavaScript.
pub fn check(tree: &Tree, faults: &mut Faults) {
    for file in &tree.files {
        for part in file.path.split('/') {
            let stem = part.split_once('.').map_or(part, |(stem, _)| stem);
            if let Some(word) = empty_word(stem) {
                refuse(&file.path, 1, part, word, faults);
            }
        }
        if file.path.ends_with("/mod.rs") {
            let words =
                "a module is `foo.rs` beside its folder `foo/`: rename it, so that its tab has a name";
            faults.refuse(&file.path, 1, words);
        }
        if matches!(file.extension(), "js" | "mjs") {
            for (at, line) in file.text.lines().enumerate() {
                let mut words = line.split_whitespace().skip_while(|word| *word != "class").skip(1);
                let is_comment = matches!(line.trim_start().as_bytes(), [b'/' | b'*', ..]);
                if let Some(class) = words.next().filter(|_| !is_comment)
                    && let Some(word) = empty_word(class)
                {
                    refuse(&file.path, at + 1, class, word, faults);
                }
            }
        }
    }
    for (file, scan) in tree.rust() {
        for named in scan.named.iter().filter(|named| matches!(named.kind, Kind::Type | Kind::Module)) {
            if let Some(word) = empty_word(&named.name) {
                refuse(&file.path, named.line, &named.name, word, faults);
            }
        }
    }
}

fn refuse(path: &str, line: usize, name: &str, word: &str, faults: &mut Faults) {
    faults.refuse(
        path,
        line,
        format!("`{name}`: \"{word}\" says nothing; name it by what it is in the domain"),
    );
}

/// The word of a name, in `snake_case`, `kebab-case` or `CamelCase`, that says nothing.
fn empty_word(name: &str) -> Option<&'static str> {
    let mut spaced = String::new();
    for c in name.chars() {
        if c.is_uppercase() {
            spaced.push(' ');
        }
        spaced.extend(c.to_lowercase());
    }
    let words: Vec<&str> = spaced.split(|c: char| !c.is_alphanumeric()).collect();
    EMPTY.into_iter().find(|empty| words.contains(empty))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{caught, passes};

    #[test]
    fn names_that_say_nothing() {
        caught(check, &[("crates/x/src/utils.rs", "")], "crates/x/src/utils.rs:1: `utils.rs`: \"utils\"");
        caught(
            check,
            &[("crates/everwire-common/Cargo.toml", "")],
            "crates/everwire-common/Cargo.toml:1: `everwire-common`",
        );
        caught(check, &[("sdk/js/tests/test-helpers.mjs", "")], "sdk/js/tests/test-helpers.mjs:1: ");
        caught(check, &[("a.rs", "\npub struct SessionManager;")], "a.rs:2: `SessionManager`: \"manager\"");
        caught(check, &[("a.rs", "trait Handler {}")], "a.rs:1: `Handler`");
        caught(check, &[("a.rs", "mod misc {}")], "a.rs:1: `misc`");
        caught(check, &[("a.js", "\nexport class FrameProcessor {")], "a.js:2: `FrameProcessor`");
        caught(check, &[("crates/x/src/y/mod.rs", "")], "crates/x/src/y/mod.rs:1: a module is `foo.rs`");
    }

    #[test]
    fn names_that_only_look_like_it() {
        passes(
            check,
            &[
                ("crates/x/src/base64.rs", "struct Base64; fn handler() {} // struct Manager"),
                ("a.js", "// a class Manager would be wrong\nclass Database {"),
            ],
        );
    }
}
