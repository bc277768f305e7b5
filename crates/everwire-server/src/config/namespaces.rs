//! `[namespaces.<name>]`: what may be done in its channels, and by whom.

use std::path::Path;
use std::sync::Arc;

use everwire_engine::channel::{Access, HistoryLimits, OnSlow, Options, Who};

use super::Config;
use super::fields::{DAY, MESSAGE_BYTES};
use super::section::Section;
use super::units::write_size;
use crate::schema;

pub(super) const WHO: [(&str, Who); 4] = [
    ("deny", Who::Deny),
    ("token", Who::Token),
    ("authenticated", Who::Authenticated),
    ("anyone", Who::Anyone),
];

pub(super) fn read_namespaces(root: &mut Section, beside: &Path, config: &mut Config) {
    let doc = "A channel `chat:lobby` is in the namespace `chat`; `news` is in the namespace `default`.";
    let message_bytes = config.limits.message_bytes;
    let mut all = Vec::new();
    root.names("namespaces", doc, |name, section| {
        let options = read_namespace(section, beside, message_bytes, name == "default");
        all.push((name.to_owned(), Arc::new(options)));
    });
    for (name, options) in all {
        if name == "default" {
            config.namespaces.default = Some(options);
        } else {
            config.namespaces.named.insert(name.into(), options);
        }
    }
}

/// What a namespace does not allow is denied unless a token allows it, and what it does not switch on is off.
fn read_namespace(section: &mut Section, beside: &Path, message_bytes: u32, is_default: bool) -> Options {
    let mut options = Options {
        history: None,
        presence: false,
        access: Access::all(Who::Token),
        user_channels: false,
        message_bytes,
        on_slow: OnSlow::Close,
        presence_members: Options::PRESENCE_MEMBERS,
        echo: true,
        messages_per_second: None,
        schema: None,
        conflate: None,
    };
    section.flag("presence", "Who is there is kept and told.", &mut options.presence);
    let doc = "The largest message here; at most that of `[limits]`, which it is where this is left out.";
    let place = section.size("message_bytes", doc, &mut options.message_bytes, 1..=MESSAGE_BYTES);
    if let Some(place) = place.filter(|_| options.message_bytes > message_bytes) {
        let most = write_size(message_bytes.into());
        let words = format!("no message is larger than message_bytes of [limits], which is {most}");
        section.fault("message_bytes", place, words);
    }
    let mut on_slow = None;
    let slow = [OnSlow::Resync, OnSlow::Drop, OnSlow::Close].map(Some);
    let slow = [("resync", slow[0]), ("drop", slow[1]), ("close", slow[2])];
    let doc = "A subscriber that does not keep up is led back through history, misses messages, or is closed. Unset: led \
               back where there is history, else closed.";
    let place = section.word("on_slow", doc, &mut on_slow, &slow);
    read_owner(section, &mut options, is_default);
    read_measure(section, &mut options, beside);
    let doc = "Who may: \"deny\" (nobody), \"token\" (whoever has a token that allows it), \"authenticated\" (any user \
               too), \"anyone\". The API with a key may always.";
    section.section("access", doc, |access| read_access(access, &mut options.access));
    let doc = "Keeps messages for those who come later or were away; `history = {}` with these limits.";
    section.optional("history", doc, |history| {
        let mut limits = HistoryLimits::default();
        history.number("messages", "So many of the newest.", &mut limits.messages, 1..=10_000_000);
        history.time("age", "None that are older.", &mut limits.age_ms, 1_000..=3_650 * DAY);
        history.size("bytes", "No more than so much.", &mut limits.bytes, 1_024..=1 << 40);
        options.history = Some(limits);
    });
    let unless_told = if options.history.is_some() { OnSlow::Resync } else { OnSlow::Close };
    options.on_slow = on_slow.unwrap_or(unless_told);
    if let Some(place) = place.filter(|_| options.history.is_none() && options.on_slow == OnSlow::Resync) {
        section.fault("on_slow", place, "\"resync\" reads on from history, which is off here: add [history], or write \"drop\" or \"close\"");
    }
    options
}

/// How much, and what.
fn read_measure(section: &mut Section, options: &mut Options, beside: &Path) {
    let doc = "Members of a channel above which only their number is told, once a second.";
    section.number("presence_members", doc, &mut options.presence_members, 1..=u64::from(u32::MAX));
    section.flag("echo", "A publisher that subscribes gets its own messages too.", &mut options.echo);
    let mut rate = 0;
    let doc = "Messages a second to each channel; 0: as many as come.";
    section.number("messages_per_second", doc, &mut rate, 0..=1_000_000);
    options.messages_per_second = (rate > 0).then_some(rate);
    let doc = "The tag that is a message's key: who is behind gets only the newest of each key.";
    options.conflate = section.text("conflate", doc, "").map(|(tag, _)| tag.into());
    let doc = "A JSON Schema of what may be published, from where the config file stands.";
    if let Some((file, place)) = section.text("schema_file", doc, "") {
        match schema::load(&beside.join(file)) {
            Ok(schema) => options.schema = Some(schema),
            Err(fault) => section.fault("schema_file", place, fault.to_string()),
        }
    }
}

fn read_access(access: &mut Section, to: &mut Access) {
    let rights = [
        ("subscribe", "Listen.", &mut to.subscribe),
        ("publish", "Speak.", &mut to.publish),
        ("presence", "See who is there.", &mut to.presence),
        ("history", "Read the past.", &mut to.history),
    ];
    for (right, doc, who) in rights {
        let nobody = access.peek(right) == Some("nobody");
        let place = access.word(right, doc, who, &WHO);
        let Some(place) = place else { continue };
        if nobody {
            access.reword("\"nobody\" is no word of this version: write \"deny\", or \"token\" for what tokens may allow");
        } else if right == "publish" && *who == Who::Anyone && !access.is_insecure() {
            let words = "so anybody who reaches the server can speak to everybody: write \"authenticated\" or \"token\"; \
                         for a trial start with --insecure";
            access.fault(right, place, words);
        }
    }
}

/// Channels that belong to users need a name behind the namespace.
fn read_owner(section: &mut Section, options: &mut Options, is_default: bool) {
    let doc = "A channel `user:ann` is the user ann's own: nobody else may subscribe to it, read its past or see who is there.";
    let place = section.flag("user_channels", doc, &mut options.user_channels);
    if let Some(place) = place.filter(|_| options.user_channels && is_default) {
        section.fault("user_channels", place, "the namespace default has no `:` that a user could stand behind; name one, such as [namespaces.user]");
    }
}
