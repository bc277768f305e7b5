//! Tests that prove something: none is left out, none waits by the clock, none promises to be written.

use super::Faults;
use crate::tree::Tree;

/// What leaves out a test, or all others, in Node's test runner. A leading dot or brace tells it from plain words.
const LEFT_OUT: [&str; 6] = [".skip(", ".only(", ".todo(", "{ skip:", "{ todo:", "{ only:"];

/// Looks through all Rust and through the tests in JavaScript.
pub fn check(tree: &Tree, faults: &mut Faults) {
    for (file, scan) in tree.rust() {
        for attribute in scan.attributes.iter().filter(|attribute| attribute.text == "ignore") {
            let words = "a test that is left out proves nothing: make it run, or take it away";
            faults.refuse(&file.path, attribute.line, words);
        }
        for path in &scan.paths {
            let last = path.parts.last().map(String::as_str).unwrap_or_default();
            if path.is_macro && matches!(last, "todo" | "unimplemented") {
                let words = format!("`{last}!` is a promise, not code: write it, or leave the path out");
                faults.refuse(&file.path, path.line, words);
            }
            if path.test && (path.ends(&["thread", "sleep"]) || path.ends(&["thread", "park_timeout"])) {
                let words = "a test that sleeps is slow on a good day and wrong on a bad one: wait for the condition, \
                             or let time be an argument";
                faults.refuse(&file.path, path.line, words);
            }
        }
    }
    let tests = tree.files.iter().filter(|file| matches!(file.extension(), "js" | "mjs"));
    for file in tests.filter(|file| file.path.contains("/tests/")) {
        for (at, line) in file.text.lines().enumerate() {
            if let Some(found) = LEFT_OUT.iter().find(|words| line.contains(**words)) {
                let words =
                    format!("`{found}` leaves tests out: what can't run has to fail and say what is missing");
                faults.refuse(&file.path, at + 1, words);
            }
            if line.contains("new Promise") && line.contains("setTimeout(") && !line.contains("reject") {
                faults.refuse(
                    &file.path,
                    at + 1,
                    "a test that sleeps: wait for the condition, or use the clock of world.mjs",
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{caught, passes};

    const TEST: &str = "crates/x/tests/a.rs";

    #[test]
    fn rust_that_leaves_out_promises_or_sleeps() {
        caught(
            check,
            &[(TEST, "#[test]\n#[ignore]\nfn f() {}")],
            "crates/x/tests/a.rs:2: a test that is left out",
        );
        caught(
            check,
            &[(TEST, "#[ignore = \"slow\"]\nfn f() {}")],
            "crates/x/tests/a.rs:1: a test that is left out",
        );
        caught(
            check,
            &[("crates/x/src/a.rs", "fn f() {\ntodo!() }")],
            "crates/x/src/a.rs:2: `todo!` is a promise",
        );
        caught(
            check,
            &[("crates/x/src/a.rs", "fn f() { unimplemented!(\"x\") }")],
            "crates/x/src/a.rs:1: `unimplemented!`",
        );
        caught(
            check,
            &[(TEST, "fn f() { std::thread::sleep(D); }")],
            "crates/x/tests/a.rs:1: a test that sleeps",
        );
        caught(
            check,
            &[(TEST, "use std::thread::{sleep, spawn};")],
            "crates/x/tests/a.rs:1: a test that sleeps",
        );
        let inside = "#[cfg(test)]\nmod tests {\nfn f() { thread::sleep(D); } }";
        caught(check, &[("crates/x/src/a.rs", inside)], "crates/x/src/a.rs:3: a test that sleeps");
    }

    #[test]
    fn javascript_that_leaves_out_or_sleeps() {
        let file = "web/tests/a.test.mjs";
        caught(check, &[(file, "\ntest.skip('x', () => {});")], "web/tests/a.test.mjs:2: `.skip(`");
        caught(check, &[(file, "test('x', { skip: true }, f);")], "web/tests/a.test.mjs:1: `{ skip:`");
        caught(check, &[(file, "test.only('x', f);")], "web/tests/a.test.mjs:1: `.only(`");
        caught(
            check,
            &[(file, "await new Promise((go) => setTimeout(go, 50));")],
            "web/tests/a.test.mjs:1: a test that sleeps",
        );
    }

    #[test]
    fn what_only_looks_like_it() {
        passes(
            check,
            &[
                (TEST, "fn f() { x.iter().skip(1); let ignore = \"#[ignore]\"; } // todo!()"),
                ("crates/x/src/a.rs", "fn f() { std::thread::sleep(D); }"),
                ("web/assets/a.js", "await new Promise((go) => setTimeout(go, 50)); a.skip();"),
            ],
        );
    }
}
