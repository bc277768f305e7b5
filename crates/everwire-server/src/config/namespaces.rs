//! `[namespaces.<name>]`: what may be done in its channels, and by whom.

use std::sync::Arc;

use everwire_engine::channel::{Access, HistoryLimits, OnSlow, Options, Who};

use super::Config;
use super::fields::DAY;
use super::section::Section;

pub(super) const WHO: [(&str, Who); 4] = [
    ("deny", Who::Deny),
    ("token", Who::Token),
    ("authenticated", Who::Authenticated),
    ("anyone", Who::Anyone),
];

pub(super) fn read_namespaces(root: &mut Section, config: &mut Config) {
    let doc = "A channel `chat:lobby` is in the namespace `chat`; `news` is in the namespace `default`.";
    let message_bytes = config.limits.message_bytes;
    let mut all = Vec::new();
    root.names("namespaces", doc, |name, section| {
        let options = read_namespace(section, message_bytes, name == "default");
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
fn read_namespace(section: &mut Section, message_bytes: u32, is_default: bool) -> Options {
    let mut options = Options {
        history: None,
        presence: false,
        access: Access::all(Who::Token),
        user_channels: false,
        message_bytes,
        on_slow: OnSlow::Close,
    };
    section.flag("presence", "Who is there is kept and told.", &mut options.presence);
    let doc = "The largest message here; at most that of `[limits]`.";
    section.size("message_bytes", doc, &mut options.message_bytes, 1..=u64::from(message_bytes));
    let mut on_slow = None;
    let slow = [OnSlow::Resync, OnSlow::Drop, OnSlow::Close].map(Some);
    let slow = [("resync", slow[0]), ("drop", slow[1]), ("close", slow[2])];
    let doc = "A subscriber that does not keep up is led back through history, misses messages, or is closed. Unset: led \
               back where there is history, else closed.";
    let place = section.word("on_slow", doc, &mut on_slow, &slow);
    read_owner(section, &mut options, is_default);
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
