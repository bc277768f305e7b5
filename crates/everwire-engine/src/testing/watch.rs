//! Who is in a channel, as a client with `presence:true` knows it.

use std::collections::BTreeMap;

use serde_json::Value;

/// The client's picture.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// From the last snapshot on; `None` before the first.
    members: Option<BTreeMap<String, String>>,
    version: u64,
    /// Events that came before the snapshot that they may be newer than.
    early: Vec<(u64, String, Value)>,
}

impl Watch {
    /// A `presence` reply.
    pub(super) fn snapshot(&mut self, frame: &Value) {
        let list = frame["members"].as_array().cloned().unwrap_or_default();
        let named = |m: &Value| Some((m["client"].as_str()?.to_owned(), m["state"].to_string()));
        self.members = Some(list.iter().filter_map(named).collect());
        self.version = frame["version"].as_u64().unwrap_or(0);
        for (version, kind, member) in std::mem::take(&mut self.early) {
            self.apply(version, &kind, &member);
        }
    }

    /// An event. Whether a new snapshot is wanted.
    pub(super) fn event(&mut self, kind: &str, frame: &Value) -> Result<bool, String> {
        let version = frame["version"].as_u64().ok_or("an event has a version")?;
        if kind == "presence_reset" {
            self.members = None;
            return Ok(true);
        }
        match &self.members {
            None => self.early.push((version, kind.to_owned(), frame["member"].clone())),
            Some(_) => self.apply(version, kind, &frame["member"]),
        }
        Ok(false)
    }

    fn apply(&mut self, version: u64, kind: &str, member: &Value) {
        let Some(members) = self.members.as_mut().filter(|_| version > self.version) else { return };
        self.version = version;
        let client = member["client"].as_str().unwrap_or_default().to_owned();
        if kind == "leave" {
            members.remove(&client);
        } else {
            members.insert(client, member["state"].to_string());
        }
    }

    /// The members and what they say of themselves, once a snapshot is there.
    pub(super) fn members(&self) -> Option<&BTreeMap<String, String>> {
        self.members.as_ref()
    }
}
