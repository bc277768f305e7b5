//! What a rule wants to know of a Rust file: its paths, functions, names and literals, each with its line.
//!
//! Read from tokens, so comments and strings never look like code. No types are resolved: a rule that a macro could
//! hide from is a rule for people who don't hide.

use std::str::FromStr as _;

use proc_macro2::{Delimiter, Group, Ident, Literal, TokenStream, TokenTree};

/// A path, `a::b::c`; the groups of a `use` are unfolded.
#[derive(Debug, PartialEq, Eq)]
pub struct PathUse {
    /// Its parts. A glob ends in `*`.
    pub parts: Vec<String>,
    /// Counted from 1.
    pub line: usize,
    /// Whether only tests compile it.
    pub test: bool,
    /// How many inline modules are around it.
    pub depth: usize,
    /// Whether `!` follows: a macro.
    pub is_macro: bool,
    /// Whether `=>` follows: a pattern, which asks for a value and makes none.
    pub is_pattern: bool,
}

impl PathUse {
    /// Whether it begins with these parts.
    pub fn starts(&self, with: &[&str]) -> bool {
        self.parts.len() >= with.len() && self.parts.iter().zip(with).all(|(a, b)| a == b)
    }

    /// Whether it ends with these parts.
    pub fn ends(&self, with: &[&str]) -> bool {
        self.parts.len() >= with.len() && self.parts.iter().rev().zip(with.iter().rev()).all(|(a, b)| a == b)
    }
}

/// What a name was given to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `struct`, `enum`, `trait`, `type` or `union`.
    Type,
    /// `mod`.
    Module,
    /// `fn`.
    Function,
}

/// Something that was given a name.
#[derive(Debug, PartialEq, Eq)]
pub struct Named {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// Where it begins.
    pub line: usize,
    /// Where its body ends; without a body, where it begins.
    pub last: usize,
}

/// A literal, or the name of an attribute, as it stands.
#[derive(Debug, PartialEq, Eq)]
pub struct Word {
    /// As it stands, with quotes and suffix.
    pub text: String,
    /// Counted from 1.
    pub line: usize,
    /// Whether only tests compile it.
    pub test: bool,
}

/// A Rust file, looked through once.
#[derive(Debug, Default)]
pub struct Scan {
    /// In the order of the file.
    pub paths: Vec<PathUse>,
    /// In the order of the file.
    pub named: Vec<Named>,
    /// Strings, numbers and the rest; not the text of doc comments.
    pub literals: Vec<Word>,
    /// The first word of each attribute: `ignore`, `cfg`, `derive` ...
    pub attributes: Vec<Word>,
    /// Lines with `unsafe`.
    pub unsafes: Vec<usize>,
    /// The tokens of macro calls by their names, for tables that are written as a macro.
    pub calls: Vec<(String, TokenStream)>,
}

impl Scan {
    /// Looks through a file. `test`: the whole file is test code.
    pub fn of(text: &str, test: bool) -> Result<Self, String> {
        let tokens = TokenStream::from_str(text).map_err(|error| {
            let at = error.span().start();
            format!("{}: {error}", at.line)
        })?;
        let mut scan = Self::default();
        scan.walk(tokens, test, 0);
        Ok(scan)
    }

    fn walk(&mut self, tokens: TokenStream, test: bool, depth: usize) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        // An attribute such as `#[cfg(test)]` holds up to the end of the item that follows it.
        let mut item_is_test = false;
        let mut in_module = false;
        let mut at = 0;
        while at < tokens.len() {
            at += match &tokens[at] {
                TokenTree::Punct(p) if p.as_char() == '#' => {
                    let (taken, is_test) = self.attribute(&tokens[at..], test, depth);
                    item_is_test |= is_test;
                    taken
                }
                TokenTree::Punct(p) => {
                    if p.as_char() == ';' {
                        item_is_test = false;
                        in_module = false;
                    }
                    1
                }
                TokenTree::Literal(literal) => {
                    self.literal(literal, test || item_is_test);
                    1
                }
                TokenTree::Ident(ident) => {
                    in_module |= ident == "mod";
                    self.ident(ident, &tokens[at..], test || item_is_test, depth)
                }
                TokenTree::Group(group) => {
                    let brace = group.delimiter() == Delimiter::Brace;
                    let inner = depth + usize::from(brace && in_module);
                    self.walk(group.stream(), test || item_is_test, inner);
                    if brace {
                        item_is_test = false;
                        in_module = false;
                    }
                    1
                }
            };
        }
    }

    /// `#[..]` or `#![..]`: how many tokens it is, and whether what follows is test code.
    fn attribute(&mut self, tokens: &[TokenTree], test: bool, depth: usize) -> (usize, bool) {
        let inner = matches!(tokens.get(1), Some(TokenTree::Punct(p)) if p.as_char() == '!');
        let at = if inner { 2 } else { 1 };
        let Some(TokenTree::Group(group)) = tokens.get(at) else { return (1, false) };
        let mut words = group.stream().into_iter();
        let Some(TokenTree::Ident(name)) = words.next() else { return (at + 1, false) };
        let line = name.span().start().line;
        let rest: TokenStream = words.collect();
        let cfg = rest.to_string().replace(' ', "");
        // `#[test]`, `#[tokio::test]`, `#[cfg(test)]`; not `#[cfg(not(test))]`.
        let is_test = name == "test"
            || cfg.starts_with("::test")
            || name == "cfg" && (cfg == "(test)" || cfg.starts_with("(all(test,"));
        self.attributes.push(Word { text: name.to_string(), line, test });
        if name != "doc" {
            self.walk(rest, test, depth);
        }
        (at + 1, is_test && !inner)
    }

    /// A word and what hangs on it: how many tokens were read.
    fn ident(&mut self, ident: &Ident, tokens: &[TokenTree], test: bool, depth: usize) -> usize {
        let line = ident.span().start().line;
        let kind = match ident.to_string().as_str() {
            "unsafe" => {
                self.unsafes.push(line);
                return 1;
            }
            "struct" | "enum" | "trait" | "type" | "union" => Some(Kind::Type),
            "mod" => Some(Kind::Module),
            "fn" => Some(Kind::Function),
            _ => None,
        };
        if let (Some(kind), Some(TokenTree::Ident(name))) = (kind, tokens.get(1)) {
            let last = body_end(&tokens[2..]).unwrap_or(line);
            self.named.push(Named { kind, name: name.to_string(), line, last });
            return 2;
        }
        self.path(tokens, test, depth)
    }

    /// A path from its first word on: how many tokens it is.
    fn path(&mut self, tokens: &[TokenTree], test: bool, depth: usize) -> usize {
        let mut found = Vec::new();
        let taken = unfold(&[], tokens, &mut found);
        let follows = |at: usize, wanted: char| matches!(tokens.get(taken + at), Some(TokenTree::Punct(p)) if p.as_char() == wanted);
        let is_macro = follows(0, '!') && !follows(1, '=');
        let is_pattern = follows(0, '=') && follows(1, '>');
        if is_macro
            && let Some(TokenTree::Group(group)) = tokens.get(taken + 1)
            && let Some((parts, _)) = found.last()
        {
            self.calls.push((parts.join("::"), group.stream()));
        }
        let paths = found.into_iter();
        self.paths.extend(paths.map(|(parts, line)| PathUse {
            parts,
            line,
            test,
            depth,
            is_macro,
            is_pattern,
        }));
        taken
    }

    fn literal(&mut self, literal: &Literal, test: bool) {
        let line = literal.span().start().line;
        self.literals.push(Word { text: literal.to_string(), line, test });
    }
}

/// The line on which the body of an item ends: its first brace, unless a `;` comes before.
fn body_end(tokens: &[TokenTree]) -> Option<usize> {
    tokens.iter().find_map(|token| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(Some(end(group))),
        TokenTree::Punct(p) if p.as_char() == ';' => Some(None),
        _ => None,
    })?
}

fn end(group: &Group) -> usize {
    group.span_close().end().line
}

/// Follows `a::b::{c, d::e}` from its first word: all paths that it stands for, and how many tokens it is.
fn unfold(prefix: &[String], tokens: &[TokenTree], found: &mut Vec<(Vec<String>, usize)>) -> usize {
    let mut parts = prefix.to_vec();
    let mut line = 0;
    let mut at = 0;
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(ident)) => {
                line = ident.span().start().line;
                parts.push(ident.to_string());
                at += 1;
            }
            Some(TokenTree::Punct(p)) if p.as_char() == '*' && at > 0 => {
                parts.push("*".to_owned());
                found.push((parts, line));
                return at + 1;
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace && at > 0 => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for branch in inner.split(|t| matches!(t, TokenTree::Punct(p) if p.as_char() == ',')) {
                    unfold_branch(&parts, branch, found);
                }
                return at + 1;
            }
            _ => break,
        }
        let is_colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(p)) if p.as_char() == ':');
        // `a::<T>()` ends the path: what follows the colons must go on with it.
        let goes_on = match tokens.get(at + 2) {
            Some(TokenTree::Ident(_)) => true,
            Some(TokenTree::Punct(p)) => p.as_char() == '*',
            Some(TokenTree::Group(group)) => group.delimiter() == Delimiter::Brace,
            _ => false,
        };
        if !(is_colon(at) && is_colon(at + 1) && goes_on) {
            break;
        }
        at += 2;
    }
    found.push((parts, line));
    at
}

/// One branch of a `use` group; `self` is the path before it.
fn unfold_branch(prefix: &[String], branch: &[TokenTree], found: &mut Vec<(Vec<String>, usize)>) {
    match branch.first() {
        Some(TokenTree::Ident(ident)) if ident == "self" => {
            found.push((prefix.to_vec(), ident.span().start().line));
        }
        Some(TokenTree::Ident(_)) => {
            unfold(prefix, branch, found);
        }
        Some(star @ TokenTree::Punct(_)) => {
            let parts = prefix.iter().cloned().chain(["*".to_owned()]).collect();
            found.push((parts, star.span().start().line));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(text: &str) -> Scan {
        Scan::of(text, false).unwrap()
    }

    fn paths(text: &str) -> Vec<String> {
        scan(text).paths.iter().map(|path| path.parts.join("::")).filter(|path| path.contains("::")).collect()
    }

    #[test]
    fn a_use_is_unfolded() {
        assert_eq!(
            paths("use crate::{a::{self, B}, c::*, d as e};"),
            ["crate::a", "crate::a::B", "crate::c::*", "crate::d"]
        );
        assert_eq!(paths("fn f() -> std::net::Ipv4Addr { Vec::<u8>::new(); }"), ["std::net::Ipv4Addr"]);
    }

    #[test]
    fn comments_and_strings_are_no_code() {
        assert!(paths("// a::b\n/// c::d\nconst X: &str = \"e::f\";").is_empty());
        assert_eq!(paths("macro_rules! m { () => { $crate::a::b } }"), ["crate::a::b"]);
    }

    #[test]
    fn test_code_is_known() {
        let text = "use a::b;\n#[cfg(test)]\nuse c::d;\n#[cfg(test)]\nmod tests { use e::f; }\n\
                    #[cfg(not(test))]\nfn g() { h::i(); }\n#[test]\nfn j() { k::l(); }\nfn m() { n::o(); }";
        let found: Vec<_> = scan(text)
            .paths
            .iter()
            .filter(|p| p.parts.len() > 1)
            .map(|p| (p.parts[1].clone(), p.test))
            .collect();
        let wanted = [("b", false), ("d", true), ("f", true), ("i", false), ("l", true), ("o", false)];
        assert_eq!(found, wanted.map(|(name, test)| (name.to_owned(), test)));
    }

    #[test]
    fn functions_have_their_lines() {
        let found = scan("trait T { fn none(&self); }\nfn two(\n    a: [u8; { 1 }],\n) {\n}\n");
        let functions: Vec<_> = found.named.iter().filter(|n| n.kind == Kind::Function).collect();
        assert_eq!((functions[0].line, functions[0].last), (1, 1));
        assert_eq!((functions[1].line, functions[1].last), (2, 5));
    }

    #[test]
    fn depth_counts_inline_modules_alone() {
        let found = scan("mod a { fn f() { super::b::c(); } }\nfn g() { super::d::e(); }");
        let depths: Vec<_> = found.paths.iter().filter(|p| p.starts(&["super"])).map(|p| p.depth).collect();
        assert_eq!(depths, [1, 0]);
    }

    #[test]
    fn a_pattern_and_a_macro_are_told_apart_from_a_value() {
        let found = scan("match x { A::B => todo!(), _ if y != z => A::C }");
        let of = |name: &str| found.paths.iter().find(|p| p.ends(&[name])).unwrap();
        assert!(of("B").is_pattern && !of("C").is_pattern);
        assert!(of("todo").is_macro && !of("y").is_macro);
    }
}
