//! A config file with every setting in it, commented out.

use std::fmt::Write as _;

use super::super::setting::{Kind, Setting};
use super::wrapped;

const HEAD: &str = "\
# A config for `everwire serve --config FILE`. Every setting is here, commented out, with its default.
# What the file does not allow is denied. All faults of a file are told at once, each with its line:
# `everwire config check --config FILE`. The environment goes before the file (`everwire config env` names it),
# `--set key=value` before both.
";

/// Columns of a comment.
const WIDTH: usize = 110;

/// The text of the file. A setting without a default is shown with an empty value of its kind; those `given`, by path
/// and as TOML, are set, and so are the tables around them.
pub fn template(settings: &[Setting], given: &[(&str, String)]) -> String {
    let mut text = HEAD.to_owned();
    for setting in settings {
        match setting.kind {
            Kind::Names => {
                // Its tables follow, as one that has a name.
                head(&mut text, &format!("{}.<name>", setting.path), setting.doc, true);
            }
            Kind::Section | Kind::Optional | Kind::Tables => {
                let path = if setting.kind == Kind::Tables {
                    format!("{}[]", setting.path)
                } else {
                    setting.path.clone()
                };
                let is_given = given.iter().any(|(given, _)| given.starts_with(&format!("{path}.")));
                let is_off = (setting.kind != Kind::Section && !is_given) || path.contains('<');
                head(&mut text, &path, setting.doc, is_off);
            }
            Kind::TextsOrTables => {
                value(&mut text, setting, given);
                let doc = "One that may not do everything, as a table; then there is no list above.";
                head(&mut text, &format!("{}[]", setting.path), doc, true);
            }
            _ => value(&mut text, setting, given),
        }
    }
    text
}

/// The head of a table. What is off unless it is there is commented out.
fn head(text: &mut String, path: &str, doc: &str, is_off: bool) {
    text.push('\n');
    text.push_str(&wrapped(doc, "# ", WIDTH));
    let name = path.trim_end_matches("[]").replace(['<', '>'], "");
    let head = if path.ends_with("[]") { format!("[[{name}]]") } else { format!("[{name}]") };
    let mark = if is_off { "# " } else { "" };
    let _ = writeln!(text, "{mark}{head}");
}

fn value(text: &mut String, setting: &Setting, given: &[(&str, String)]) {
    let key = setting.path.rsplit('.').next().unwrap_or(&setting.path);
    text.push('\n');
    text.push_str(&wrapped(&format!("{} ({})", setting.doc, setting.takes()), "# ", WIDTH));
    if let Some((_, value)) = given.iter().find(|(path, _)| *path == setting.path) {
        let _ = writeln!(text, "{key} = {value}");
        return;
    }
    let value = match (setting.default.as_str(), &setting.kind) {
        ("", Kind::Texts) => "[]",
        ("", _) => "\"\"",
        (default, _) => default,
    };
    let _ = writeln!(text, "# {key} = {value}");
}
