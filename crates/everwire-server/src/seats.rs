//! Sessions over an orderly restart: they are written beside the history when the node has been left, and taken from there
//! at the next start. A client that comes back is who it was, and a publish that it repeats is known by its `message_id`.
//!
//! After a crash there is no such file, and every session begins anew.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, BufWriter, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use everwire_engine::node::{Known, Node, Owner};
use everwire_engine::time::Now;
use everwire_proto::ids::{ClientId, SessionKey};

/// The file, and what it is called until it is whole.
const NAME: &str = "sessions";
const UNFINISHED: &str = "sessions.new";
/// The first line begins so; behind it stands when it was written, ms since 1970 UTC.
const TITLE: &str = "everwire sessions 1 ";
/// A larger file is none of ours: a million sessions with long names of users.
const MOST_BYTES: u64 = 512 << 20;

/// Writes what is known. The keys are secrets, as the messages beside them are.
///
/// # Errors
/// Those of the operating system; then the sessions end with their server.
pub(crate) fn write(folder: &Path, node: &Node, now: Now) -> io::Result<usize> {
    let all = node.known_sessions(now);
    let unfinished = folder.join(UNFINISHED);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    let mut out = BufWriter::new(file);
    writeln!(out, "{TITLE}{}", now.unix_ms)?;
    for Known { key, client, user } in &all {
        let key = String::from_utf8_lossy(&key.text()).into_owned();
        let line = serde_json::json!([key, client.to_string(), user.name()]);
        writeln!(out, "{line}")?;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(unfinished, folder.join(NAME))?;
    Ok(all.len())
}

/// Takes what was written: the file is gone afterwards, so that no later start goes on with it.
///
/// # Errors
/// Those of the operating system, and a file that can't be read as ours; none of its sessions is known then.
pub(crate) fn take(folder: &Path, node: &Node, now: Now) -> io::Result<usize> {
    let path = folder.join(NAME);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        file => file?,
    };
    fs::remove_file(&path)?;
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "the file of sessions can't be read");
    let mut lines = BufReader::new(file.take(MOST_BYTES)).lines();
    let title = lines.next().ok_or_else(strange)??;
    let written_ms: u64 = title.strip_prefix(TITLE).and_then(|ms| ms.parse().ok()).ok_or_else(strange)?;
    if now.unix_ms.saturating_sub(written_ms) > node.settings().times.resume_ms {
        return Ok(0);
    }
    let all = lines.map(|line| read(&line?).ok_or_else(strange)).collect::<io::Result<Vec<_>>>()?;
    let count = all.len();
    node.seat_again(all, now);
    Ok(count)
}

fn read(line: &str) -> Option<Known> {
    let (key, client, user): (String, String, Option<String>) = serde_json::from_str(line).ok()?;
    Some(Known {
        key: SessionKey::parse(&key)?,
        client: ClientId::parse(&client)?,
        user: Owner::of(user.as_deref()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_session_or_none() {
        let key = SessionKey([7; 16]);
        let text = String::from_utf8(key.text().to_vec()).unwrap();
        let client = ClientId([9; 12]);
        let known = read(&format!(r#"["{text}","{client}","an \"ann\""]"#)).unwrap();
        assert_eq!((known.key == key, known.client, known.user.name()), (true, client, Some("an \"ann\"")));
        assert_eq!(read(&format!(r#"["{text}","{client}",null]"#)).unwrap().user, Owner::default());
        for line in ["", "[]", r#"["a","b",null]"#, &format!(r#"["{client}","{text}",null]"#)] {
            assert!(read(line).is_none(), "{line}");
        }
    }
}
