//! Sizes: what doesn't fit on a few screens doesn't fit in a head.

use super::Faults;
use crate::scan::Kind;
use crate::tree::Tree;

/// Over this a file is talked about.
const LONG_FILE: usize = 500;
/// Over this it is refused.
const FILE: usize = 800;
/// Lines of a function, from `fn` to its closing brace.
const FUNCTION: usize = 70;

/// Files that people write as code.
const CODE: [&str; 7] = ["rs", "js", "mjs", "css", "html", "py", "sh"];

/// Measures files and functions.
pub fn check(tree: &Tree, faults: &mut Faults) {
    for file in tree.files.iter().filter(|file| CODE.contains(&file.extension())) {
        let lines = file.text.lines().count();
        if lines > FILE {
            let words = format!("{lines} lines, and {FILE} are the limit: split it by what it is about");
            faults.refuse(&file.path, FILE + 1, words);
        } else if lines > LONG_FILE {
            let words = format!("{lines} lines; over {LONG_FILE} a file wants a reason to stay whole");
            faults.warn(&file.path, LONG_FILE + 1, words);
        }
    }
    for (file, scan) in tree.rust() {
        for function in scan.named.iter().filter(|named| named.kind == Kind::Function) {
            let lines = function.last - function.line + 1;
            if lines > FUNCTION {
                let words = format!(
                    "`{}` has {lines} lines, and {FUNCTION} are the limit: give its steps names",
                    function.name
                );
                faults.refuse(&file.path, function.line, words);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{caught, passes};

    #[test]
    fn files_over_the_limits() {
        let of = |lines: usize| "//\n".repeat(lines);
        passes(check, &[("a.rs", &of(500)), ("b.md", &of(900))]);
        caught(check, &[("a.rs", &of(501))], "a.rs:501: warning: 501 lines");
        caught(check, &[("a.mjs", &of(800))], "a.mjs:501: warning: ");
        caught(check, &[("web/a.js", &of(801))], "web/a.js:801: 801 lines, and 800");
    }

    #[test]
    fn functions_over_the_limit() {
        let of = |lines: usize| format!("\n/// Doc.\nimpl A {{ fn long() {{{}}} }}", "\n".repeat(lines - 1));
        passes(check, &[("a.rs", &of(70))]);
        caught(check, &[("a.rs", &of(71))], "a.rs:3: `long` has 71 lines, and 70");
    }
}
