//! Subscriptions that hang on a token of their own.

use everwire_engine::inbox::{Expelled, Expulsion};

use crate::world::Recipe;

#[test]
fn a_revoked_token_of_a_channel_ends_what_hangs_on_it() {
    let mut world = Recipe::default().world();
    let [one, other] = [0; 2].map(|_| world.open(None));
    let subscribe = |channel: &str, id: &str| {
        format!(r#"{{"type":"subscribe","id":2,"channel":"{channel}","token":"{id} {channel}"}}"#)
    };
    for (slot, channel, id) in [(one, "a", "t1"), (one, "b", "t2"), (other, "a", "t2"), (other, "c", "t1")] {
        assert!(world.ask(slot, &subscribe(channel, id)).contains("subscribed"));
    }
    let expulsion =
        Expulsion { whom: Expelled::Token("t1".into()), code: 4001, reason: "the token was revoked".into() };
    world.turn.node().expel(expulsion);
    world.settle();
    for (slot, ended, stays) in [(one, "a", "b"), (other, "c", "a")] {
        let heard = world.heard(slot);
        let told = format!(r#"{{"type":"unsubscribed","channel":"{ended}","code":"token_invalid""#);
        assert!(heard.contains(&told) && heard.contains(r#""resubscribe":false"#), "{heard}");
        assert_eq!(heard.matches("unsubscribed").count(), 1, "{heard}");
        world.publish(one, stays, "still", "");
        assert_eq!(world.messages(slot), ["still"]);
    }
    assert!(world.turn.take_finished().is_empty(), "the connections live");
}
