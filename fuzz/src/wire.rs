//! Words on the wire: frames, the opening handshake, commands, payloads, ids.

use everwire_proto::api::{self, Verb};
use everwire_proto::command::{Command, Refusal, Request};
use everwire_proto::ids::{ClientId, Epoch, SessionKey, is_wire_id};
use everwire_proto::payload::{Data, MOST_DEPTH};
use everwire_proto::ws::{Decoder, Event, Inflater, Limits, Violation, deflate, handshake, origin};
use everwire_proto::{json, msgpack, transcode};

/// What a fuzz target does with its bytes.
pub type Body = fn(&[u8]);

/// The targets of this file.
pub const TARGETS: [(&str, Body); 12] = [
    ("ws_plain", ws_plain),
    ("ws_deflate", ws_deflate),
    ("handshake", upgrade),
    ("deflate_offer", deflate_offer),
    ("origin", origins),
    ("json_command", json_command),
    ("json_verb", json_verb),
    ("msgpack_command", msgpack_command),
    ("transcode_json", transcode_json),
    ("transcode_msgpack", transcode_msgpack),
    ("whole_object", whole_object),
    ("ids", ids),
];

/// Frames without an extension. The first four bytes say how they are read: by whom and with which limit, and in pieces
/// of which three sizes in turn.
pub fn ws_plain(data: &[u8]) {
    frames(data, false);
}

/// Frames with permessage-deflate; as [`ws_plain`].
pub fn ws_deflate(data: &[u8]) {
    frames(data, true);
}

fn frames(data: &[u8], deflate: bool) {
    let Some((&[how, a, b, c], stream)) = data.split_first_chunk::<4>() else { return };
    let limits = Limits { message_bytes: if how & 2 == 0 { 300 } else { 70_000 } };
    let new = || match how & 1 {
        0 => Decoder::server(limits, deflate),
        _ => Decoder::client(limits, deflate),
    };
    let whole = read(&mut new(), &limits, stream, &[stream.len()]);
    let sizes = [a, b, c].map(|size| usize::from(size) + 1);
    assert_eq!(read(&mut new(), &limits, stream, &sizes), whole, "in pieces of {sizes:?}");
}

/// What a decoder sees of a stream that comes in pieces: opcode and bytes of each event, and how it fails.
fn read(
    decoder: &mut Decoder,
    limits: &Limits,
    stream: &[u8],
    sizes: &[usize],
) -> (Vec<(u8, Vec<u8>)>, Option<Violation>) {
    let (mut inflater, mut seen, mut bytes) = (Inflater::new(), Vec::new(), stream.to_vec());
    let (mut rest, mut sizes) = (&mut bytes[..], sizes.iter().cycle());
    while !rest.is_empty() {
        let size = sizes.next().map_or(1, |size| (*size).clamp(1, rest.len()));
        let (piece, behind) = std::mem::take(&mut rest).split_at_mut(size);
        rest = behind;
        let (mut at, len) = (0, piece.len());
        loop {
            let mut window = &mut piece[at..];
            let event = decoder.next(&mut window, &mut inflater);
            at = len - window.len();
            match event {
                Ok(Some(event)) => seen.push(checked(event, limits)),
                Ok(None) => break,
                Err(violation) => {
                    assert!(decoder.is_idle() && [1002, 1007, 1009].contains(&violation.code));
                    return (seen, Some(violation));
                }
            }
        }
        assert_eq!(at, len, "nothing is whole, so all must be taken");
    }
    (seen, None)
}

fn checked(event: Event<'_>, limits: &Limits) -> (u8, Vec<u8>) {
    let (opcode, bytes, most) = match event {
        Event::Text(bytes) => (1, bytes, limits.message_bytes as usize),
        Event::Binary(bytes) => (2, bytes, limits.message_bytes as usize),
        Event::Ping(bytes) => (9, bytes, 125),
        Event::Pong(bytes) => (10, bytes, 125),
        Event::Close(None) => (8, &[][..], 125),
        Event::Close(Some((code, reason))) => {
            assert!((1000..5000).contains(&code) && reason.len() <= 123);
            return (8, [&code.to_be_bytes()[..], reason.as_bytes()].concat());
        }
    };
    assert!(bytes.len() <= most);
    assert!(opcode != 1 || std::str::from_utf8(bytes).is_ok());
    (opcode, bytes.to_vec())
}

/// The head of an opening handshake: a method, then lines of `name:value`.
pub fn upgrade(data: &[u8]) {
    let mut lines = data.split(|b| *b == b'\n');
    let Some(method) = lines.next().and_then(|line| std::str::from_utf8(line).ok()) else { return };
    let mut headers = Vec::new();
    for line in lines {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        // An HTTP library lets no other names through.
        let Ok(name) = std::str::from_utf8(&line[..colon]) else { continue };
        headers.push((name, &line[colon + 1..]));
    }
    let count = |name: &str| headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).count();
    match handshake::check(method, true, headers.iter().copied()) {
        Ok(upgrade) => {
            assert_eq!(method, "GET");
            for once in ["host", "sec-websocket-key", "sec-websocket-version"] {
                assert_eq!(count(once), 1, "{once}");
            }
            assert_eq!(count("transfer-encoding"), 0);
            assert!(handshake::wants_websocket(headers.iter().copied()));
            assert_eq!(upgrade.accept.len(), 28);
            assert!(
                upgrade.protocols.iter().all(|p| !p.is_empty() && p.bytes().all(|b| b.is_ascii_graphic()))
            );
        }
        Err(refused) => assert!([400, 405, 426].contains(&refused.status)),
    }
    assert!(handshake::check(method, false, headers.iter().copied()).is_err());
}

/// A `Sec-WebSocket-Extensions` header.
pub fn deflate_offer(data: &[u8]) {
    let Ok(offer) = std::str::from_utf8(data) else { return };
    let Some(agreed) = deflate::accept(offer) else { return };
    assert!(offer.contains("permessage-deflate"));
    let answer = agreed.answer();
    assert!(answer.contains("server_no_context_takeover; client_no_context_takeover"));
    // What is answered is itself an offer that means the same.
    assert_eq!(deflate::accept(&answer), Some(agreed));
    assert_eq!(deflate::accept(&format!("x; y=\",\", {offer}")), Some(agreed));
    assert!(agreed.may_compress() || answer.contains("server_max_window_bits="));
}

/// Lines: an origin, a host, and the origins that are allowed.
pub fn origins(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let (Some(from), Some(host)) = (lines.next(), lines.next()) else { return };
    let mut allowed: Vec<_> = lines.map(str::to_owned).collect();
    for tls in [false, true] {
        let site = origin::Site { host, tls };
        let [strict, dev] = [false, true].map(|dev| origin::is_allowed(Some(from), site, &allowed, dev));
        assert!(
            dev || !strict || !origin::is_beyond_dns(host),
            "what is allowed is allowed in dev mode too, but for names"
        );
        assert!(origin::is_allowed(None, site, &allowed, false));
        assert!(origin::is_well_formed(from) || !dev, "what can't be read is foreign");
        let shouted = from.to_ascii_uppercase();
        assert_eq!(origin::is_allowed(Some(&shouted), site, &allowed, dev), dev || strict);
        if allowed.is_empty() && strict {
            let (scheme, port) = if tls { ("https://", ":443") } else { ("http://", ":80") };
            let named = from.to_ascii_lowercase();
            let their = named.strip_prefix(scheme).expect("the scheme is the server's");
            let (their, our) = (their.trim_end_matches(port), host.to_ascii_lowercase());
            // Zeros before a port are its only other spelling.
            assert!(their == our.trim_end_matches(port) || named.contains(":0") || our.contains(":0"));
        }
    }
    allowed.push(from.to_owned());
    let site = origin::Site { host, tls: false };
    assert_eq!(origin::is_allowed(Some(from), site, &allowed, false), origin::is_well_formed(from));
}

/// A command in a text frame.
pub fn json_command(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let request = json::decode(text.as_bytes());
    if let Ok(request) = &request {
        in_other_words(request, text.as_bytes());
    }
    told(request);
}

/// As MessagePack the command is the same one.
fn in_other_words(request: &Request<'_>, text: &[u8]) {
    let mut packed = Vec::new();
    // A `binary` that no command asks for may be anything.
    if transcode::command_to_msgpack(text, &mut packed).is_none() {
        return assert!(text.windows(8).any(|w| w == b"\"binary\"") || text.contains(&b'\\'));
    }
    match msgpack::decode(&packed) {
        Ok(other) => {
            assert_eq!(other.id, request.id);
            assert_eq!(std::mem::discriminant(&other.command), std::mem::discriminant(&request.command));
        }
        // A float takes nine bytes there, so a state of the full size may become too large.
        Err(refusal) => assert!(refusal.message.starts_with("`state` has "), "{refusal:?}"),
    }
}

/// A body of the HTTP API, which need not be text.
pub fn json_verb(data: &[u8]) {
    for verb in Verb::ALL {
        if let Err(refusal) = api::decode(*verb, data) {
            assert!(refusal.message.len() < 1_000, "what is told stays small");
        }
    }
    match json::decode_verb("publish", data) {
        Ok(command) => told(Ok(Request { id: None, command })),
        Err(refusal) => told(Err(refusal)),
    }
}

/// A command in a binary frame.
pub fn msgpack_command(data: &[u8]) {
    told(msgpack::decode(data));
}

/// What is told stays small, and a payload that was taken is taken again, in both formats.
fn told(request: Result<Request<'_>, Refusal>) {
    let request = match request {
        Ok(request) => request,
        Err(refusal) => return assert!(refusal.message.len() < 1_000, "{}", refusal.message),
    };
    assert!(request.id.is_none_or(|id| (1..1 << 53).contains(&id)));
    match request.command {
        Command::Publish(publish) => {
            assert!(publish.tags.len() <= 16);
            taken_again(&publish.data);
        }
        Command::Call { data, .. } => taken_again(&data),
        Command::PresenceUpdate { state: Some(state), .. } => taken_again(&state),
        Command::Connect(connect) => assert!(connect.since.iter().all(|(_, since)| is_wire_id(&since.epoch))),
        _ => {}
    }
}

fn taken_again(data: &Data<'_>) {
    match data {
        Data::Json(text) => {
            assert!(!text.iter().any(|b| matches!(b, b'\r' | b'\n')), "one payload is one line");
            assert_eq!(taken_as_json(text).as_deref(), Some(&text[..]));
            round_json(text);
        }
        Data::MsgPack(packed) => {
            assert_eq!(taken_as_msgpack(packed).as_deref(), Some(&packed[..]));
            round_msgpack(packed);
        }
        Data::Binary(_) => {}
    }
}

/// A JSON value, from text to MessagePack and back.
pub fn transcode_json(data: &[u8]) {
    if std::str::from_utf8(data).is_ok()
        && let Some(text) = taken_as_json(data)
    {
        round_json(&text);
    }
    // What was never checked gives one well-formed value too.
    let mut packed = Vec::new();
    transcode::to_msgpack(data, &mut packed);
    assert!(taken_as_msgpack(&packed).is_some());
}

/// A MessagePack value, to JSON and back.
pub fn transcode_msgpack(data: &[u8]) {
    if let Some(packed) = taken_as_msgpack(data) {
        round_msgpack(&packed);
    }
    let mut text = Vec::new();
    transcode::to_json(data, &mut text);
    assert!(taken_as_json(&text).is_some());
}

/// A whole object in MessagePack, as a client gets it, to JSON and back.
pub fn whole_object(data: &[u8]) {
    let (mut text, mut packed, mut again) = (Vec::new(), Vec::new(), Vec::new());
    if transcode::object_to_json(data, &mut text).is_err() {
        return;
    }
    assert!(std::str::from_utf8(&text).is_ok_and(|t| !t.contains(['\r', '\n'])), "one object is one line");
    if transcode::command_to_msgpack(&text, &mut packed).is_none() {
        return assert!(text.windows(8).any(|w| w == b"\"binary\""), "only base64 can be bad");
    }
    transcode::object_to_json(&packed, &mut again).expect("what JSON says, MessagePack can say");
    assert_eq!(text, again);
}

fn round_json(text: &[u8]) {
    let (mut packed, mut back, mut again) = (Vec::new(), Vec::new(), Vec::new());
    transcode::to_msgpack(text, &mut packed);
    assert!(taken_as_msgpack(&packed).is_some(), "what JSON says, MessagePack can say");
    assert_eq!(packed == [0xc0], text == b"null", "a value that can't be written becomes null");
    transcode::to_json(&packed, &mut back);
    transcode::to_msgpack(&back, &mut again);
    assert_eq!(packed, again);
}

fn round_msgpack(packed: &[u8]) {
    let (mut text, mut back, mut again) = (Vec::new(), Vec::new(), Vec::new());
    transcode::to_json(packed, &mut text);
    assert!(taken_as_json(&text).is_some(), "what MessagePack says, JSON can say");
    assert_eq!(text == b"null", packed == [0xc0], "a value that can't be written becomes null");
    transcode::to_msgpack(&text, &mut back);
    transcode::to_json(&back, &mut again);
    assert_eq!(text, again);
}

/// The value as the payload of a command, if it is taken.
fn taken_as_json(value: &[u8]) -> Option<Vec<u8>> {
    let frame = [&br#"{"type":"call","method":"m","data":"#[..], value, b"}"].concat();
    match json::decode_within(&frame, MOST_DEPTH) {
        Ok(Request { command: Command::Call { data: Data::Json(text), .. }, .. }) => Some(text.to_vec()),
        _ => None,
    }
}

fn taken_as_msgpack(value: &[u8]) -> Option<Vec<u8>> {
    let frame = [&b"\x83\xa4type\xa4call\xa6method\xa1m\xa4data"[..], value].concat();
    match msgpack::decode_within(&frame, MOST_DEPTH) {
        Ok(Request { command: Command::Call { data: Data::MsgPack(packed), .. }, .. }) => {
            Some(packed.to_vec())
        }
        _ => None,
    }
}

/// Ids: one spelling each.
pub fn ids(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(client) = ClientId::parse(text) {
        assert_eq!(client.to_string(), text);
    }
    if let Some(session) = SessionKey::parse(text) {
        assert_eq!(session.text(), text.as_bytes());
    }
    let good = (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    assert_eq!(is_wire_id(text), good);
    assert_eq!(Epoch::parse(text).map(|e| e.as_str() == text), good.then_some(true));
    if let Some(bytes) = data.first_chunk::<12>() {
        assert_eq!(ClientId::parse(&ClientId(*bytes).to_string()), Some(ClientId(*bytes)));
    }
}
