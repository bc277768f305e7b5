//! Floors: a lower crate never names an upper one, and inside a crate a module looks only downward.

use std::collections::BTreeMap;

use super::Faults;
use crate::scan::{Kind, PathUse};
use crate::tree::{File, Tree};

/// Each crate and what it may build on. Server tests may drive the server with the client.
const FLOORS: [(&str, &[&str], &[&str]); 7] = [
    ("everwire-proto", &[], &[]),
    ("everwire-engine", &["everwire-proto"], &[]),
    ("everwire-brokers", &["everwire-proto", "everwire-engine"], &[]),
    (
        "everwire-server",
        &["everwire-proto", "everwire-engine", "everwire-brokers", "everwire-client", "everwire-bench"],
        &["everwire-client"],
    ),
    ("everwire-client", &["everwire-proto"], &[]),
    ("everwire-bench", &["everwire-proto", "everwire-client"], &[]),
    ("xtask", &[], &[]),
];

/// Modules that must not know each other, whatever their order: the session asks, the hub delivers, the turn carries.
const STRANGERS: [(&str, &str, &str); 1] = [("everwire-engine", "session", "hub")];

/// Reads the floors between crates from every `Cargo.toml`.
pub fn between_crates(tree: &Tree, faults: &mut Faults) {
    for file in tree.files.iter().filter(|file| is_manifest(&file.path)) {
        let Some(manifest) = manifest(file, faults) else { continue };
        let name = manifest.get("package").and_then(|p| p.get("name")).and_then(toml::Value::as_str);
        let name = name.unwrap_or_default();
        let Some((_, below, in_tests)) = FLOORS.iter().find(|(floor, ..)| *floor == name) else {
            let words = format!("the crate {name:?} has no floor: give it one in xtask/src/tidy/floors.rs");
            faults.refuse(&file.path, 1, words);
            continue;
        };
        for (kind, dependency) in dependencies(&manifest) {
            let allowed = below.contains(&dependency.as_str())
                || kind == "dev-dependencies" && in_tests.contains(&dependency.as_str());
            if dependency.starts_with("everwire") && dependency != name && !allowed {
                let words = format!(
                    "{name} may not build on {dependency}, which is not below it: \
                     take the line out and let the lower crate speak by return value or through a port of its own"
                );
                faults.refuse(&file.path, line_of(&file.text, &dependency), words);
            }
        }
    }
}

fn is_manifest(path: &str) -> bool {
    path == "xtask/Cargo.toml" || path.starts_with("crates/") && path.ends_with("/Cargo.toml")
}

fn manifest(file: &File, faults: &mut Faults) -> Option<toml::Table> {
    match file.text.parse() {
        Ok(table) => Some(table),
        Err(error) => {
            faults.refuse(&file.path, 1, format!("can't be read as TOML: {error}"));
            None
        }
    }
}

/// All dependencies with the table that they stand in; those of single systems too.
pub(super) fn dependencies(manifest: &toml::Table) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (key, value) in manifest {
        let Some(table) = value.as_table() else { continue };
        match key.as_str() {
            "dependencies" | "dev-dependencies" | "build-dependencies" => {
                for (alias, how) in table {
                    let name = how.get("package").and_then(toml::Value::as_str).unwrap_or(alias);
                    found.push((key.clone(), name.to_owned()));
                }
            }
            "target" => {
                let systems = table.values().filter_map(toml::Value::as_table);
                found.extend(systems.flat_map(dependencies));
            }
            _ => {}
        }
    }
    found
}

pub(super) fn line_of(text: &str, part: &str) -> usize {
    text.lines().position(|line| line.contains(part)).map_or(1, |at| at + 1)
}

/// Reads the order of modules from each `lib.rs` and holds every path of the crate against it.
pub fn inside_crates(tree: &Tree, faults: &mut Faults) {
    for (lib, scan) in tree.rust() {
        let Some(folder) = lib.path.strip_suffix("/src/lib.rs") else { continue };
        let modules = scan.named.iter().filter(|named| named.kind == Kind::Module);
        let order: BTreeMap<&str, usize> =
            modules.enumerate().map(|(height, named)| (named.name.as_str(), height)).collect();
        let src = format!("{folder}/src/");
        for (file, scan) in tree.rust() {
            let Some(inside) = file.path.strip_prefix(&src) else { continue };
            let module = inside.split(['/', '.']).next().unwrap_or_default();
            if matches!(module, "lib" | "main" | "bin") {
                continue;
            }
            let Some(own) = order.get(module) else {
                faults.refuse(&file.path, 1, format!("{} does not list the module {module}", lib.path));
                continue;
            };
            let name = folder.rsplit('/').next().unwrap_or_default();
            for path in &scan.paths {
                let Some(other) = named_module(path, inside) else { continue };
                look(&file.path, path.line, (name, module, *own), (other, order.get(other)), faults);
            }
        }
    }
}

fn look(
    path: &str,
    line: usize,
    (name, module, own): (&str, &str, usize),
    (other, height): (&str, Option<&usize>),
    faults: &mut Faults,
) {
    match height {
        None => {
            let words = format!(
                "`crate::{other}` is no module of lib.rs: name the module that the thing lives in, so that its floor can be seen"
            );
            faults.refuse(path, line, words);
        }
        Some(height) if *height > own => {
            let words = format!(
                "`{module}` looks up to `{other}`: lib.rs lists modules bottom to top and a `use` looks only downward; \
                 move what both need below, or let the upper module pass it in"
            );
            faults.refuse(path, line, words);
        }
        Some(_)
            if STRANGERS
                .iter()
                .any(|(c, a, b)| name == *c && [(a, b), (b, a)].contains(&(&module, &other))) =>
        {
            let words = format!("`{module}` and `{other}` don't know each other: let the turn carry it");
            faults.refuse(path, line, words);
        }
        Some(_) => {}
    }
}

/// The module of `lib.rs` that a path begins with, if it starts at the crate's root.
fn named_module<'a>(path: &'a PathUse, inside: &str) -> Option<&'a str> {
    if path.parts[0] == "crate" {
        return path.parts.get(1).map(String::as_str);
    }
    // `src/a.rs` is one step below the root, `src/a/b.rs` two; inline modules are further steps.
    let steps = inside.split('/').count() + path.depth;
    let climbed =
        path.parts.iter().skip_while(|part| *part == "self").take_while(|part| *part == "super").count();
    let rest = path.parts.iter().find(|part| *part != "self" && *part != "super")?;
    (climbed > 0 && climbed >= steps).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{caught, passes};

    #[test]
    fn a_crate_that_builds_on_an_upper_one() {
        let check = |text, start| caught(between_crates, &[("crates/x/Cargo.toml", text)], start);
        let upward = "[package]\nname = 'everwire-proto'\n[dependencies]\neverwire-engine.workspace = true\n";
        check(upward, "crates/x/Cargo.toml:4: everwire-proto may not build on everwire-engine");
        let in_tests = "[package]\nname = 'everwire-engine'\n[dev-dependencies]\neverwire-server = '1'\n";
        check(in_tests, "crates/x/Cargo.toml:4: everwire-engine may not");
        let renamed = "[package]\nname = 'everwire-proto'\n[target.'cfg(unix)'.dependencies]\n\
                       x = { package = 'everwire-client', path = 'y' }\n";
        check(renamed, "crates/x/Cargo.toml:4: everwire-proto may not build on everwire-client");
        check(
            "[package]\nname = 'everwire-extra'\n",
            "crates/x/Cargo.toml:1: the crate \"everwire-extra\" has no floor",
        );
        check("[package", "crates/x/Cargo.toml:1: can't be read as TOML");
        passes(
            between_crates,
            &[(
                "crates/x/Cargo.toml",
                "[package]\nname = 'everwire-server'\n[dependencies]\neverwire-engine = '1'\ntokio = '1'\n\
                 [dev-dependencies]\neverwire-client = '1'\n",
            )],
        );
    }

    const LIB: (&str, &str) = ("crates/c/src/lib.rs", "pub mod low;\nmod mid;\npub mod top;");

    #[test]
    fn a_module_that_looks_up() {
        for text in [
            "use crate::top::T;",
            "use crate::{low::L, top::{T, U}};",
            "fn f() { crate::top::f() }",
            "use super::top::T;",
            "fn f() { assert_eq!(crate::top::X, 1); }",
            "mod inner { use super::super::top::T; }",
        ] {
            let told = super::super::told(inside_crates, &[LIB, ("crates/c/src/mid.rs", text)]);
            assert!(
                !told.is_empty() && told[0].starts_with("crates/c/src/mid.rs:1: `mid` looks up to `top`"),
                "{text}: {told:?}"
            );
        }
        let deep = ("crates/c/src/mid/part.rs", "\nuse super::super::top::T;");
        caught(inside_crates, &[LIB, deep], "crates/c/src/mid/part.rs:2: `mid` looks up");
    }

    #[test]
    fn a_module_that_looks_down_or_beside() {
        for text in [
            "use crate::low::L;",
            "use crate::mid::M;",
            "use super::low::L;",
            "mod inner { use super::top; }",
            "use std::top;",
        ] {
            passes(inside_crates, &[LIB, ("crates/c/src/mid.rs", text)]);
        }
        passes(inside_crates, &[LIB, ("crates/c/src/mid/part.rs", "use super::top; mod top;")]);
    }

    #[test]
    fn a_path_without_a_module_and_a_module_without_a_place() {
        caught(
            inside_crates,
            &[LIB, ("crates/c/src/mid.rs", "use crate::Thing;")],
            "crates/c/src/mid.rs:1: `crate::Thing` is no",
        );
        caught(
            inside_crates,
            &[LIB, ("crates/c/src/lost.rs", "")],
            "crates/c/src/lost.rs:1: crates/c/src/lib.rs does not list",
        );
    }

    #[test]
    fn session_and_hub_are_strangers() {
        let lib = ("crates/everwire-engine/src/lib.rs", "mod hub; mod session;");
        let session = ("crates/everwire-engine/src/session/publish.rs", "use crate::hub::Hub;");
        caught(
            inside_crates,
            &[lib, session],
            "crates/everwire-engine/src/session/publish.rs:1: `session` and `hub`",
        );
    }
}
