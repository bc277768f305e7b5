//! The reference page of the config.

use std::fmt::Write as _;

use super::super::setting::{Kind, Setting};

const HEAD: &str = "\
# The config of `everwire serve`

Every setting, from the lines that read it: `everwire config reference` wrote this page. A file with all of them is
what `everwire config default` prints; `everwire config schema` prints a JSON Schema for editors.

Defaults, then the file, then the environment, then `--set key=value`: the later goes before the earlier. A name in the
environment is `EVERWIRE_`, the table, two underscores, the key, in capitals. Lists are parted by commas there, or written as in
TOML. Times are a number and `ms`, `s`, `m`, `h` or `d`; sizes are bytes, or a number and `KiB`, `MiB`, `GiB` or `TiB`. Whatever
is unknown is an error, in the file and in the environment, and all errors are told at once. Only what Kubernetes sets by itself
for a service that is named `everwire` (or `everwire-...`) is passed over: `EVERWIRE_SERVICE_HOST` with an address,
`EVERWIRE_SERVICE_PORT...` with a number, `EVERWIRE_PORT...` with `tcp://...`, and its parts `..._PROTO`, `..._PORT` and `..._ADDR`.
";

/// The page, as Markdown.
pub fn reference(settings: &[Setting]) -> String {
    let mut text = HEAD.to_owned();
    let mut table = None;
    for setting in settings {
        let (above, key) = setting.path.rsplit_once('.').unwrap_or(("", &setting.path));
        if !setting.is_value() {
            let brackets = match setting.kind {
                Kind::Tables => format!("[[{}]]", setting.path),
                Kind::Names => format!("[{}.<name>]", setting.path),
                _ => format!("[{}]", setting.path),
            };
            let _ = write!(text, "\n## `{brackets}`\n\n{}\n", setting.doc);
            let path = match setting.kind {
                Kind::Tables => format!("{}[]", setting.path),
                Kind::Names => format!("{}.<name>", setting.path),
                _ => setting.path.clone(),
            };
            text.push_str(COLUMNS);
            table = Some(path);
            continue;
        }
        if table.as_deref() != Some(above) {
            let name = match above.strip_suffix("[]") {
                _ if above.is_empty() => "Without a table".to_owned(),
                Some(list) => format!("`[[{list}]]`"),
                None => format!("`[{above}]`, the rest"),
            };
            let _ = write!(text, "\n## {name}\n{COLUMNS}");
            table = Some(above.to_owned());
        }
        let default =
            if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        let takes = setting.takes();
        let _ = writeln!(text, "| `{key}` | {} | {takes} | {default} |", setting.doc);
    }
    // A table of tables has no rows of its own.
    text.replace(&format!("{COLUMNS}\n##"), "\n##")
}

const COLUMNS: &str = "\n| key | what | takes | default |\n|---|---|---|---|\n";
