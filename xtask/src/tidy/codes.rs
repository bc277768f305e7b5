//! Every code that a client may read is documented, and a test reaches it.
//!
//! The table is `codes.rs` of the proto crate. *Documented*: the contract names it. *Reached*: Rust test code, of any
//! crate, holds the error code as a text of its own (`"bad_request"`), or quoted inside one, or names the variant; a
//! close code as its plain number in a file that speaks of closing, or by its variant. What nobody makes yet stands on
//! a list, and leaves it with the first line that makes it.

use proc_macro2::{TokenStream, TokenTree};

use super::Faults;
use crate::tree::Tree;

const TABLE: &str = "crates/everwire-proto/src/codes.rs";
const CONTRACT: &str = "docs/protocol.md";

/// Codes that the contract has and no source makes yet, each with what it waits for.
const NOT_YET: [(&str, &str); 3] = [
    ("1000", "a server that ends a connection of its own accord and in peace"),
    ("1011", "a fault that ends one connection alone"),
    ("4003", "the hook that is asked at `connect`"),
];

struct Code {
    variant: String,
    /// The text, or the number, on the wire.
    word: String,
    line: usize,
}

/// Holds both tables against the contract, the sources and the tests.
pub fn check(tree: &Tree, faults: &mut Faults) {
    check_with(tree, &NOT_YET, faults);
}

fn check_with(tree: &Tree, not_yet: &[(&str, &str)], faults: &mut Faults) {
    let Some(table) = tree.file(TABLE).and_then(|file| file.scan()) else { return };
    let contract = tree.file(CONTRACT).map_or("", |file| file.text.as_str());
    for (call, enumeration) in [("error_codes", "ErrorCode"), ("close_codes", "CloseCode")] {
        let rows = table.calls.iter().filter(|(name, _)| name == call);
        for code in rows.flat_map(|(_, tokens)| rows_of(tokens.clone())) {
            if !documents(contract, &code.word) {
                let words = format!(
                    "{} does not name `{}`: say what it means and what a client does",
                    CONTRACT, code.word
                );
                faults.refuse(TABLE, code.line, words);
            }
            let made = made_at(tree, enumeration, &code.variant);
            let waits = not_yet.iter().find(|(word, _)| *word == code.word);
            let tested = is_tested(tree, enumeration, &code);
            match (waits, made) {
                (Some((_, what)), Some((path, line))) => {
                    let words = format!(
                        "makes `{}`, which still waits for {what} in xtask/src/tidy/codes.rs: reach it by a test, and strike it off",
                        code.word
                    );
                    faults.refuse(path, line, words);
                }
                (None, Some(_)) if !tested => {
                    let words = format!("no test reaches `{}`: write one that names it", code.word);
                    faults.refuse(TABLE, code.line, words);
                }
                (None, None) if !tested => {
                    let words = format!(
                        "nothing makes `{}`: take it out, or say what it waits for in xtask/src/tidy/codes.rs",
                        code.word
                    );
                    faults.refuse(TABLE, code.line, words);
                }
                _ => {}
            }
        }
    }
}

/// `Variant "word" ... ;` rows of a table.
fn rows_of(tokens: TokenStream) -> Vec<Code> {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let rows = tokens.split(|token| matches!(token, TokenTree::Punct(p) if p.as_char() == ';'));
    let row = |row: &[TokenTree]| match row {
        [TokenTree::Ident(variant), TokenTree::Literal(word), ..] => Some(Code {
            variant: variant.to_string(),
            word: word.to_string().trim_matches('"').to_owned(),
            line: word.span().start().line,
        }),
        _ => None,
    };
    rows.filter_map(row).collect()
}

/// Whether the word stands in the text, not as a part of another one.
fn documents(text: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    text.match_indices(word)
        .any(|(at, _)| !text[..at].ends_with(part) && !text[at + word.len()..].starts_with(part))
}

/// Where the sources make it.
fn made_at<'a>(tree: &'a Tree, enumeration: &str, variant: &str) -> Option<(&'a str, usize)> {
    let sources = tree.rust().filter(|(file, _)| file.path.starts_with("crates/") && file.path != TABLE);
    sources.into_iter().find_map(|(file, scan)| {
        let made = |path: &&crate::scan::PathUse| {
            !path.test && !path.is_pattern && path.ends(&[enumeration, variant])
        };
        scan.paths.iter().find(made).map(|path| (file.path.as_str(), path.line))
    })
}

fn is_tested(tree: &Tree, enumeration: &str, code: &Code) -> bool {
    let sources = tree.rust().filter(|(file, _)| file.path.starts_with("crates/") && file.path != TABLE);
    sources.into_iter().any(|(_, scan)| {
        let by_name = scan.paths.iter().any(|path| path.test && path.ends(&[enumeration, &code.variant]));
        let number = code.word.parse::<u16>().is_ok();
        let closes = || {
            scan.paths.iter().any(|path| path.test && path.parts.iter().any(|part| speaks_of_closing(part)))
        };
        let by_word = scan.literals.iter().filter(|literal| literal.test).any(|literal| {
            if number {
                literal.text.trim_end_matches("u16") == code.word
            } else {
                holds_text(&literal.text, &code.word)
            }
        });
        by_name || by_word && (!number || closes())
    })
}

fn speaks_of_closing(part: &str) -> bool {
    part.to_ascii_lowercase().contains("close")
}

/// Whether a literal is this text, or holds it in quotes, as JSON does.
fn holds_text(literal: &str, word: &str) -> bool {
    let inner = literal.trim_start_matches(['b', 'r', '#']).trim_end_matches('#');
    inner == format!("\"{word}\"")
        || literal.contains(&format!("\"{word}\""))
        || literal.contains(&format!("\\\"{word}\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{caught, passes};

    const CODES: (&str, &str) = (
        TABLE,
        "error_codes! {\n Bad \"bad\" 400 false \"Doc.\"; }\nclose_codes! {\n TooBig 1009 \"Doc.\"; }",
    );
    const DOC: (&str, &str) = (CONTRACT, "Codes: `bad`, 1009.");
    const MAKES: (&str, &str) = ("crates/s/src/a.rs", "fn f() { g(ErrorCode::Bad, CloseCode::TooBig) }");
    const TESTS: (&str, &str) =
        ("crates/s/tests/a.rs", "fn f() { assert_eq!(code, \"bad\"); assert_eq!(c.closed_with(), 1009); }");

    #[test]
    fn documented_made_and_reached() {
        passes(check, &[CODES, DOC, MAKES, TESTS]);
        let by_name = ("crates/s/tests/a.rs", "fn f() { (ErrorCode::Bad, CloseCode::TooBig) }");
        passes(check, &[CODES, DOC, MAKES, by_name]);
        let in_json =
            ("crates/s/tests/a.rs", r##"fn f() { (r#"{"code":"bad"}"#, "\"bad\"", CloseCode::TooBig) }"##);
        passes(check, &[CODES, DOC, MAKES, in_json]);
    }

    #[test]
    fn a_code_that_the_contract_does_not_name() {
        let doc = (CONTRACT, "Codes: `bad_request`, 1009.");
        caught(
            check,
            &[CODES, doc, MAKES, TESTS],
            "crates/everwire-proto/src/codes.rs:2: docs/protocol.md does not name `bad`",
        );
    }

    #[test]
    fn a_code_that_no_test_reaches() {
        for tests in [
            "fn f() { (\"a bad thing\", c.closed_with(), 1009) }",
            "// \"bad\"\nfn f() { CloseCode::TooBig }",
        ] {
            let file = ("crates/s/tests/a.rs", tests);
            caught(
                check,
                &[CODES, DOC, MAKES, file],
                "crates/everwire-proto/src/codes.rs:2: no test reaches `bad`",
            );
        }
        let silent = ("crates/s/tests/a.rs", "fn f() { assert_eq!(code, \"bad\"); let bytes = 1009; }");
        caught(
            check,
            &[CODES, DOC, MAKES, silent],
            "crates/everwire-proto/src/codes.rs:4: no test reaches `1009`",
        );
    }

    #[test]
    fn a_code_that_nobody_makes_needs_a_reason() {
        let pattern = ("crates/s/src/a.rs", "fn f() { match e { ErrorCode::Bad => g(CloseCode::TooBig) } }");
        let tests = ("crates/s/tests/a.rs", "fn f() { CloseCode::TooBig }");
        caught(
            check,
            &[CODES, DOC, pattern, tests],
            "crates/everwire-proto/src/codes.rs:2: nothing makes `bad`",
        );
        passes(|tree, faults| check_with(tree, &[("bad", "more")], faults), &[CODES, DOC, pattern, tests]);
    }

    #[test]
    fn a_code_leaves_the_list_when_it_is_made() {
        let rule = |tree: &Tree, faults: &mut Faults| check_with(tree, &[("bad", "more")], faults);
        caught(
            rule,
            &[CODES, DOC, MAKES, TESTS],
            "crates/s/src/a.rs:1: makes `bad`, which still waits for more",
        );
    }
}
