//! The nine stops of a message's life: the comments in the sources and the list in `ARCHITECTURE.md` agree.
//!
//! In the sources a stop is a comment that begins with `life 4/9:`. In `ARCHITECTURE.md` it is a line of the section
//! "The life of a message" that begins with its number and its file: ``4. `crates/…/carry.rs` the shell carries it``.

use super::Faults;
use crate::tree::Tree;

const STOPS: usize = 9;
const MAP: &str = "ARCHITECTURE.md";
const SECTION: &str = "## The life of a message";

struct Stop<'a> {
    number: usize,
    /// The source file.
    file: &'a str,
    line: usize,
}

/// Holds both lists against each other.
pub fn check(tree: &Tree, faults: &mut Faults) {
    let marks = marks(tree, faults);
    let mapped = mapped(tree, faults);
    for number in 1..=STOPS {
        let here: Vec<_> = marks.iter().filter(|stop| stop.number == number).collect();
        match here.as_slice() {
            [] => faults.refuse(
                MAP,
                1,
                format!(
                    "no source has the comment `// life {number}/{STOPS}: …`: put it where that stop happens"
                ),
            ),
            [_] => {}
            [first, more @ ..] => {
                for again in more {
                    let words = format!(
                        "stop {number} is at {}:{} already: a stop has one place",
                        first.file, first.line
                    );
                    faults.refuse(again.file, again.line, words);
                }
            }
        }
        let there: Vec<_> = mapped.iter().filter(|stop| stop.number == number).collect();
        match (here.first(), there.as_slice()) {
            (_, []) if mapped.is_empty() => {}
            (_, []) => {
                let words =
                    format!("stop {number} is missing: add the line ``{number}. `file` what happens there``");
                faults.refuse(MAP, 1, words);
            }
            (Some(mark), [stop]) if mark.file != stop.file => {
                let words =
                    format!("stop {number} is in {}, not in {}: name that file", mark.file, stop.file);
                faults.refuse(MAP, stop.line, words);
            }
            (_, [_]) => {}
            (_, [.., last]) => faults.refuse(MAP, last.line, format!("stop {number} stands twice: keep one")),
        }
    }
}

/// The comments.
fn marks<'a>(tree: &'a Tree, faults: &mut Faults) -> Vec<Stop<'a>> {
    let mut found = Vec::new();
    for file in &tree.files {
        if !(file.path.starts_with("crates/") && file.path.contains("/src/") && file.extension() == "rs") {
            continue;
        }
        for (at, line) in file.text.lines().enumerate() {
            let Some((_, stop)) = line.split_once("// life ") else { continue };
            let number = stop.split_once(&format!("/{STOPS}: ")).and_then(|(number, _)| number.parse().ok());
            match number {
                Some(number) if (1..=STOPS).contains(&number) => {
                    found.push(Stop { number, file: &file.path, line: at + 1 });
                }
                _ => {
                    let words =
                        format!("a stop is written `// life n/{STOPS}: what happens`, n from 1 to {STOPS}");
                    faults.refuse(&file.path, at + 1, words);
                }
            }
        }
    }
    found
}

/// The list of the document.
fn mapped<'a>(tree: &'a Tree, faults: &mut Faults) -> Vec<Stop<'a>> {
    let Some(map) = tree.file(MAP) else {
        let words = format!("is missing: write it, with the section `{SECTION}` and its {STOPS} stops");
        faults.refuse(MAP, 1, words);
        return Vec::new();
    };
    let mut found = Vec::new();
    let lines = map.text.lines().enumerate().skip_while(|(_, line)| *line != SECTION).skip(1);
    for (at, line) in lines.take_while(|(_, line)| !line.starts_with("## ")) {
        let Some((number, rest)) = line.split_once(". `") else { continue };
        if let (Ok(number), Some((file, _))) = (number.parse(), rest.split_once('`')) {
            found.push(Stop { number, file, line: at + 1 });
        }
    }
    if found.is_empty() {
        let words =
            format!("has no stops: the section `{SECTION}` needs lines like ``1. `file` what happens``");
        faults.refuse(MAP, 1, words);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{caught, passes, told};

    const SOURCE: &str = "crates/e/src/a.rs";

    fn source() -> String {
        (1..=STOPS).fold(String::new(), |text, n| text + &format!("    // life {n}/9: something.\n"))
    }

    fn map() -> String {
        let stops = (1..=STOPS).map(|n| format!("{n}. `{SOURCE}` something\n"));
        format!(
            "# A\n\n## The life of a message\n\nWords.\n\n{}\n## More\n\n1. `x` other\n",
            stops.collect::<String>()
        )
    }

    #[test]
    fn agreement_passes() {
        passes(check, &[(SOURCE, &source()), (MAP, &map())]);
    }

    #[test]
    fn a_stop_that_is_missing_doubled_or_misspelt() {
        let without = source().replace("    // life 4/9: something.\n", "");
        caught(
            check,
            &[(SOURCE, &without), (MAP, &map())],
            "ARCHITECTURE.md:1: no source has the comment `// life 4/9",
        );
        let twice = ("crates/e/src/b.rs", "fn f() {} // life 4/9: again\n");
        caught(
            check,
            &[(SOURCE, &source()), twice, (MAP, &map())],
            "crates/e/src/b.rs:1: stop 4 is at crates/e/src/a.rs:4",
        );
        let misspelt = ("crates/e/src/b.rs", "// life 10/9: more");
        caught(
            check,
            &[(SOURCE, &source()), misspelt, (MAP, &map())],
            "crates/e/src/b.rs:1: a stop is written",
        );
    }

    #[test]
    fn a_document_that_disagrees() {
        caught(check, &[(SOURCE, &source())], "ARCHITECTURE.md:1: is missing");
        caught(check, &[(SOURCE, &source()), (MAP, "# A\n")], "ARCHITECTURE.md:1: has no stops");
        let moved = map().replacen("4. `crates/e/src/a.rs`", "4. `crates/e/src/z.rs`", 1);
        caught(
            check,
            &[(SOURCE, &source()), (MAP, &moved)],
            "ARCHITECTURE.md:10: stop 4 is in crates/e/src/a.rs, not",
        );
        let fewer = map().replacen("4. `crates/e/src/a.rs` something\n", "", 1);
        caught(check, &[(SOURCE, &source()), (MAP, &fewer)], "ARCHITECTURE.md:1: stop 4 is missing");
        let doubled = map().replacen("5. `", "4. `", 1);
        assert_eq!(told(check, &[(SOURCE, &source()), (MAP, &doubled)]).len(), 2);
    }
}
