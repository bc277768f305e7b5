//! A server that has keys, channels of every kind, and tokens for it.

use std::time::{SystemTime, UNIX_EPOCH};

use everwire_server::auth::{Algorithm, Key, Wanted, sign};
use serde_json::{Value, json};

use crate::peer::Peer;
use crate::world::{KEY, World, served, world_with};

pub const SECRET: &str = "a-secret-of-the-tests-of-32-bytes";
pub const OLD_SECRET: &str = "the-secret-before-it-of-the-tests";
pub const JSON: &str = "Content-Type: application/json\r\n";

/// Every kind of channel; all have history and presence.
pub fn config() -> String {
    let mut text = format!(
        "listen = [\"127.0.0.1:0\"]\napi_keys = [\"{KEY}\"]\nshards = 2\n\
         [tokens]\n[[tokens.keys]]\nid = \"new\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n\
         [[tokens.keys]]\nid = \"old\"\nalgorithm = \"HS256\"\nsecret = \"{OLD_SECRET}\"\n"
    );
    let all = |who: &str| {
        let rights = ["subscribe", "publish", "presence", "history"];
        rights.map(|right| format!("{right} = \"{who}\"")).join(", ")
    };
    let mixed =
        "subscribe = \"anyone\", publish = \"authenticated\", presence = \"token\", history = \"deny\"";
    for (name, access, more) in [
        ("deny", all("deny"), ""),
        ("token", String::new(), ""),
        ("auth", all("authenticated"), ""),
        ("open", all("anyone"), ""),
        ("user", String::new(), "user_channels = true\n"),
        ("shut", all("deny"), "user_channels = true\n"),
        ("mixed", mixed.to_owned(), ""),
    ] {
        let section =
            format!("[namespaces.{name}]\npresence = true\nhistory = {{}}\naccess = {{ {access} }}\n{more}");
        text.push_str(&section);
    }
    text
}

pub fn guarded() -> World {
    world_with(|to| *to = served(&config()))
}

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn key(id: &str, secret: &str) -> Key {
    Key::new(Some(id), Algorithm::Hs256, secret.as_bytes()).unwrap()
}

/// A token of this user, good for ten minutes, with further claims.
pub fn token(user: Option<&str>, others: &Value) -> String {
    until(user, now_s() + 600, others)
}

pub fn until(user: Option<&str>, expires_s: u64, others: &Value) -> String {
    let others = others.as_object().cloned().unwrap_or_default();
    // Made some time ago, as most are.
    let issued_s = now_s() - 60;
    let wanted = Wanted { user: user.map(str::to_owned), issued_s, expires_s: Some(expires_s), others };
    sign(&key("new", SECRET), &wanted).unwrap()
}

pub fn connect(world: &World, token: &str) -> (Peer, Value) {
    let mut peer = world.open("/ws");
    let connected = peer.ask(&json!({ "type": "connect", "id": 1, "token": token }).to_string());
    (peer, connected)
}

/// A session of this token that stands.
pub fn session(world: &World, token: &str) -> Peer {
    let (peer, connected) = connect(world, token);
    assert_eq!(connected["type"], "connected", "{connected}");
    peer
}

pub fn api(world: &World, verb: &str, body: &Value) -> Value {
    let lines = format!("{JSON}X-API-Key: {KEY}\r\n");
    let (head, answer) = world.http("POST", &format!("/api/{verb}"), &lines, &body.to_string());
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(head.starts_with("http/1.1 200"), answer["type"] != "error", "{head}{answer}");
    answer
}
