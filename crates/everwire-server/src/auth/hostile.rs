//! Tokens that must not be accepted, each a bit away from one that is.

use everwire_engine::ports::{Authority as _, Identity};
use everwire_engine::time::Now;
use everwire_proto::codes::ErrorCode;

use super::keys_of_tests::{
    EC_PUBLIC, ED_PUBLIC, OTHER_SECRET, RSA_PUBLIC, RSA_SHORT, SECRET, b64, forged, signature,
};
use super::{Algorithm, Demands, Fault, Key, Keyring, Revoked, Tokens};
use Algorithm::{EdDsa, Es256, Hs256, Hs384, Hs512, Ps256, Rs256};

const NOW: Now = Now { mono_ms: 5_000, unix_ms: 1_700_000_000_000 };
const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;
const GOOD: &str = r#"{"sub":"ann","aud":"everwire","iss":"shop","exp":1700000600}"#;

fn demands() -> Demands {
    Demands {
        audience: vec!["everwire".into(), "also".into()],
        issuer: Some("shop".into()),
        exp_required: true,
    }
}

fn key(id: Option<&str>, algorithm: Algorithm) -> Key {
    let text = match algorithm {
        Rs256 | Ps256 => RSA_PUBLIC,
        Es256 => EC_PUBLIC,
        EdDsa => ED_PUBLIC,
        _ => SECRET,
    };
    Key::new(id, algorithm, text.as_bytes()).unwrap()
}

/// A server with one key of this algorithm.
fn one(algorithm: Algorithm) -> Tokens {
    Tokens::new(vec![key(None, algorithm)], demands())
}

fn header(algorithm: Algorithm) -> String {
    format!(r#"{{"alg":"{}","typ":"JWT"}}"#, algorithm.as_str())
}

/// A good token of the tests' secret with this payload.
fn saying(payload: &str) -> String {
    forged(HEADER, payload, Hs256)
}

/// The good payload with `from` changed into `to`.
fn but(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    saying(&GOOD.replace(from, to))
}

#[test]
fn good_tokens_of_every_algorithm() {
    for (_, algorithm) in Algorithm::NAMES {
        let token = forged(&header(algorithm), GOOD, algorithm);
        let identity = one(algorithm).identity(&token, NOW).unwrap();
        assert_eq!(identity.user.as_deref(), Some("ann"), "{algorithm:?}");
        assert_eq!(identity.expires_at, Some(1_700_000_600_000), "{algorithm:?}");
        // One bit of any part changed, and it is not.
        for at in [2, token.find('.').unwrap() + 5, token.len() - 3] {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let bent = String::from_utf8(bytes).unwrap();
            assert!(one(algorithm).identity(&bent, NOW).is_err(), "{algorithm:?} {at}");
        }
    }
}

#[test]
fn good_tokens_in_other_words() {
    let tokens = one(Hs256);
    for token in [
        forged(r#"{"alg":"HS256"}"#, GOOD, Hs256),
        forged(r#"{"typ":"jwt","alg":"HS256","kid":"any"}"#, GOOD, Hs256),
        forged(r#"{"alg":"HS256","typ":"at+jwt","x":[1]}"#, GOOD, Hs256),
        but(r#""everwire""#, r#"["other","also"]"#),
        but("}", r#","more":{"of":["the","application's"]}}"#),
        but("}", r#","nbf":1700000002,"iat":1700000001}"#),
        // Within the leeway.
        but("1700000600", "1699999999"),
        but("ann", "Änn @ home"),
        but("}", &format!(r#","info":{}1{},"x":"\\\"{{[\\\\"}}"#, "[".repeat(63), "]".repeat(63))),
        but("}", r#","allow":{"chat:*":["subscribe"]},"limits":{"channels":1},"info":null}"#),
    ] {
        assert!(tokens.identity(&token, NOW).is_ok(), "{token}");
    }
    let lax = Tokens::new(vec![key(None, Hs256)], Demands { exp_required: false, ..Demands::default() });
    let nobody = Identity { signed_by: 1, ..Identity::default() };
    assert_eq!(lax.identity(&saying("{}"), NOW).unwrap(), nobody);
}

fn bad_shapes() -> Vec<(String, Fault)> {
    let good = saying(GOOD);
    let parts: Vec<&str> = good.split('.').collect();
    let (head, body, sign) = (parts[0], parts[1], parts[2]);
    let mut all = vec![
        (String::new(), Fault::Shape),
        (".".into(), Fault::Shape),
        ("..".into(), Fault::Header),
        ("...".into(), Fault::Header),
        (head.to_owned(), Fault::Shape),
        (format!("{head}.{body}"), Fault::Shape),
        (format!("{head}.{body}."), Fault::Signature),
        (format!(".{body}.{sign}"), Fault::Header),
        (format!("{head}..{sign}"), Fault::Signature),
        (format!("{good}.{sign}"), Fault::Signature),
        (format!("{good}."), Fault::Signature),
        (format!("{good}x"), Fault::Signature),
        (format!("{good}\n"), Fault::Shape),
        (format!(" {good}"), Fault::Shape),
        (format!("{good}="), Fault::Shape),
        (format!("{head}=.{body}.{sign}"), Fault::Shape),
        (format!("{head}.{body}.{}", &sign[..sign.len() - 1]), Fault::Shape),
        (format!("{head}.{body}.{}", "A".repeat(43)), Fault::Signature),
        (format!("{head}.{body}.{}", b64([0; 64])), Fault::Signature),
        (format!("{head}.{body}.{sign}{sign}"), Fault::Signature),
        (format!("{body}.{head}.{sign}"), Fault::Header),
        (good.replace('.', ","), Fault::Shape),
        (format!("Bearer {good}"), Fault::Shape),
        (format!("{head}.{}.{sign}", "+/+/"), Fault::Signature),
        ("a".repeat(9_000), Fault::TooLong),
        (saying(&GOOD.replace("ann", &"x".repeat(8_000))), Fault::TooLong),
        (format!("{}.{}.{}", b64(""), b64(GOOD), sign), Fault::Header),
        ("ä.ö.ü".into(), Fault::Shape),
    ];
    // The last letter has bits to spare: a second spelling of the same bytes.
    let last = sign.as_bytes()[sign.len() - 1];
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let at = letters.iter().position(|letter| *letter == last).unwrap();
    let twin = format!("{head}.{body}.{}{}", &sign[..sign.len() - 1], letters[at ^ 1] as char);
    all.push((twin, Fault::Shape));
    all
}

fn bad_headers() -> Vec<(String, Fault)> {
    let with = |header: &str| forged(header, GOOD, Hs256);
    let unsigned = |alg: &str| format!("{}.{}.", b64(format!(r#"{{"alg":"{alg}"}}"#)), b64(GOOD));
    let mut all = Vec::new();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        all.push((unsigned(alg), Fault::NoKey));
        all.push((with(&format!(r#"{{"alg":"{alg}"}}"#)), Fault::NoKey));
    }
    for (header, fault) in [
        (r#"{"alg":"hs256"}"#, Fault::NoKey),
        (r#"{"alg":"HS384"}"#, Fault::NoKey),
        (r#"{"alg":"HS512"}"#, Fault::NoKey),
        (r#"{"alg":"RS256"}"#, Fault::NoKey),
        (r#"{"alg":"HS1"}"#, Fault::NoKey),
        (r#"{"alg":" HS256"}"#, Fault::NoKey),
        (r#"{"alg":["HS256"]}"#, Fault::Header),
        (r#"{"alg":null}"#, Fault::Header),
        (r#"{"alg":256}"#, Fault::Header),
        (r#"{"typ":"JWT"}"#, Fault::Header),
        (r#"{"alg":"none","alg":"HS256"}"#, Fault::Header),
        (r#"{"alg":"HS256","alg":"none"}"#, Fault::Header),
        (r#"{"ALG":"HS256"}"#, Fault::Header),
        (r#"{"alg":"HS256"} "x""#, Fault::Header),
        (r#"{"alg":"HS256""#, Fault::Header),
        (r#"["HS256"]"#, Fault::Header),
        (r#"["HS256",null,null,null]"#, Fault::Header),
        ("HS256", Fault::Header),
        ("null", Fault::Header),
        (r#"{"alg":"HS256","typ":"JWE"}"#, Fault::Typ),
        (r#"{"alg":"HS256","typ":"dpop+jwt"}"#, Fault::Typ),
        (r#"{"alg":"HS256","typ":1}"#, Fault::Header),
        (r#"{"alg":"HS256","crit":["exp"],"exp":1}"#, Fault::Critical),
        (r#"{"alg":"HS256","crit":[]}"#, Fault::Critical),
        (r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#, Fault::Critical),
        (r#"{"alg":"HS256","kid":7}"#, Fault::Header),
        (r#"{"alg":"HS256","kid":{"$ne":""}}"#, Fault::Header),
        (r#"{"alg":"HS256","kid":"a","kid":"b"}"#, Fault::Header),
    ] {
        all.push((with(header), fault));
    }
    all
}

fn bad_claims() -> Vec<(String, Fault)> {
    let mut all = vec![
        (saying(""), Fault::Claims),
        (saying("{}"), Fault::NoEnd),
        (saying("[]"), Fault::Claims),
        (saying(r#"["ann",1700000600,null,null,"shop","everwire",null,null,null,null,null]"#), Fault::Claims),
        (saying("null"), Fault::Claims),
        (saying("\"sub\""), Fault::Claims),
        (saying(&format!("{GOOD} {GOOD}")), Fault::Claims),
        (saying(&format!("\u{feff}{GOOD}")), Fault::Claims),
        // A token inside of a token.
        (saying(&saying(GOOD)), Fault::Claims),
        (but("}", &format!(r#","x":{}1{}}}"#, "[".repeat(500), "]".repeat(500))), Fault::Claims),
        (but("}", &format!(r#","x":{}1{}}}"#, "[".repeat(64), "]".repeat(64))), Fault::Claims),
        (but("}", &format!(r#","info":{}1{}}}"#, "[".repeat(64), "]".repeat(64))), Fault::Claims),
        (but("}", &format!(r#","info":"{}"}}"#, "x".repeat(1_023))), Fault::Info),
        (but("ann", &"x".repeat(256)), Fault::Claims),
        (but("ann", ""), Fault::Claims),
        (but("ann", "a\\u0000b"), Fault::Claims),
        (but("\"ann\"", "7"), Fault::Claims),
        (but("\"ann\"", "[\"ann\"]"), Fault::Claims),
        (but("}", ",\"sub\":\"bob\"}"), Fault::Claims),
        (but("}", ",\"exp\":1700000600}"), Fault::Claims),
        (but("shop", "Shop"), Fault::Issuer),
        (but(",\"iss\":\"shop\"", ""), Fault::Issuer),
        (but("\"shop\"", "[\"shop\"]"), Fault::Claims),
        (but("\"everwire\"", "\"everwir\""), Fault::Audience),
        (but("\"everwire\"", "[]"), Fault::Audience),
        (but("\"everwire\"", "[\"other\"]"), Fault::Audience),
        (but("\"everwire\"", "[\"everwire\",1]"), Fault::Claims),
        (but("\"everwire\"", "{\"everwire\":1}"), Fault::Claims),
        (but(",\"aud\":\"everwire\"", ""), Fault::Audience),
        (but("}", ",\"nbf\":1700000003}"), Fault::TooEarly),
        (but("}", ",\"nbf\":\"1600000000\"}"), Fault::Claims),
        (but("}", ",\"nbf\":1600000000.5}"), Fault::Claims),
        (but("}", ",\"iat\":1700000003}"), Fault::TooEarly),
        (but("}", ",\"iat\":true}"), Fault::Claims),
        (but("}", ",\"jti\":5}"), Fault::Claims),
        (but("}", &format!(",\"jti\":\"{}\"}}", "x".repeat(256))), Fault::Claims),
        (but("}", ",\"limits\":{\"channels\":0}}"), Fault::Claims),
        (but("}", ",\"limits\":{\"channels\":-1}}"), Fault::Claims),
        (but("}", ",\"limits\":7}"), Fault::Claims),
        (but("}", ",\"allow\":[\"chat:*\"]}"), Fault::Claims),
        (but("}", ",\"allow\":{\"chat:*\":\"subscribe\"}}"), Fault::Claims),
        (but("}", ",\"allow\":{\"chat:*\":[\"everything\"]}}"), Fault::Allow),
        (but("}", ",\"allow\":{\"\":[\"subscribe\"]}}"), Fault::Allow),
        (but("}", ",\"channels\":\"news\"}"), Fault::Claims),
        (but("}", ",\"channels\":[7]}"), Fault::Claims),
        (but("}", ",\"channels\":[\"a b\"]}"), Fault::Channels),
        (but("}", ",\"channel\":\"chat:1\"}"), Fault::ForChannel),
        (but("}", ",\"channel\":\"a b\"}"), Fault::Claims),
        (but("}", ",\"channel\":7}"), Fault::Claims),
    ];
    let lines: Vec<_> = (0..65).map(|n| format!("\"{n}\":[]")).collect();
    all.push((but("}", &format!(",\"allow\":{{{}}}}}", lines.join(","))), Fault::Allow));
    all
}

fn bad_ends() -> Vec<(String, Fault)> {
    let mut all = Vec::new();
    for (exp, fault) in [
        ("1699999998", Fault::Expired),
        ("0", Fault::Expired),
        ("\"1700000600\"", Fault::Claims),
        ("\"never\"", Fault::Claims),
        ("1700000600.0", Fault::Claims),
        ("1.7e9", Fault::Claims),
        ("-1", Fault::Claims),
        ("253402300800", Fault::Claims),
        ("18446744073709551615", Fault::Claims),
        ("18446744073709551616", Fault::Claims),
        ("99999999999999999999999999", Fault::Claims),
        ("1e400", Fault::Claims),
        ("NaN", Fault::Claims),
        ("true", Fault::Claims),
        ("[1700000600]", Fault::Claims),
        ("{}", Fault::Claims),
        ("null", Fault::NoEnd),
    ] {
        all.push((but("1700000600", exp), fault));
    }
    all
}

#[test]
fn hostile_tokens_are_refused_with_one_text() {
    let tokens = one(Hs256);
    assert!(tokens.identity(&saying(GOOD), NOW).is_ok(), "the one that all of them are made of");
    let all: Vec<_> = [bad_shapes(), bad_headers(), bad_claims(), bad_ends()].concat();
    assert!(all.len() >= 60, "{}", all.len());
    for (token, fault) in &all {
        let read = tokens.identity(token, NOW).map(|identity| identity.user);
        assert_eq!(read, Err(*fault), "{token}");
        let (code, text) = tokens.check(token, NOW).unwrap_err();
        let wanted = match fault {
            Fault::Expired => {
                (ErrorCode::TokenExpired, "the token has ended; fetch a new one from your backend")
            }
            _ => (ErrorCode::TokenInvalid, "the token is not accepted; fetch a new one from your backend"),
        };
        assert_eq!((code, text.as_str()), wanted, "{token}");
    }
}

/// A public key is no secret: whoever has it must not be able to sign with it as if it were one.
#[test]
fn a_public_key_is_not_taken_for_a_secret() {
    for algorithm in [Rs256, Ps256, Es256, EdDsa] {
        let pem = match algorithm {
            Es256 => EC_PUBLIC,
            EdDsa => ED_PUBLIC,
            _ => RSA_PUBLIC,
        };
        for (secret_of, alg) in [(Hs256, "HS256"), (Hs256, algorithm.as_str()), (Hs512, "HS512")] {
            for secret in [pem, pem.trim()] {
                let signed = format!("{}.{}", b64(format!(r#"{{"alg":"{alg}"}}"#)), b64(GOOD));
                let mac = signature(secret_of, secret.as_bytes(), signed.as_bytes());
                let token = format!("{signed}.{}", b64(mac));
                let read = one(algorithm).identity(&token, NOW).unwrap_err();
                let wanted = if alg == algorithm.as_str() { Fault::Signature } else { Fault::NoKey };
                assert_eq!(read, wanted, "{algorithm:?} {alg}");
            }
        }
    }
}

/// The same key in both of the RSA forms: a signature of the one is none of the other.
#[test]
fn a_signature_is_of_its_algorithm() {
    for (of, said, keyed) in [
        (Rs256, Ps256, Ps256),
        (Ps256, Rs256, Rs256),
        (Hs256, Hs384, Hs384),
        (Hs384, Hs256, Hs256),
        (Es256, EdDsa, EdDsa),
    ] {
        let token = forged(&header(said), GOOD, of);
        assert_eq!(one(keyed).identity(&token, NOW).unwrap_err(), Fault::Signature, "{of:?} {said:?}");
        let honest = forged(&header(of), GOOD, of);
        assert_eq!(one(keyed).identity(&honest, NOW).unwrap_err(), Fault::NoKey, "{of:?} {said:?}");
    }
    let short = Key::new(None, Rs256, RSA_SHORT.as_bytes());
    assert!(short.is_err(), "1024 bits can be broken");
}

#[test]
fn an_id_chooses_a_key_and_opens_nothing() {
    let other = Key::new(Some("old"), Hs256, OTHER_SECRET.as_bytes()).unwrap();
    let tokens = Tokens::new(vec![key(Some("new"), Hs256), other, key(Some("rsa"), Rs256)], demands());
    let by_old = |header: &str| {
        let signed = format!("{}.{}", b64(header), b64(GOOD));
        format!("{signed}.{}", b64(signature(Hs256, OTHER_SECRET.as_bytes(), signed.as_bytes())))
    };
    // The secret before this one is good while it is in the config, with its id or without any.
    for header in [r#"{"alg":"HS256","kid":"old"}"#, r#"{"alg":"HS256"}"#] {
        assert!(tokens.identity(&by_old(header), NOW).is_ok(), "{header}");
    }
    for (kid, fault) in [
        ("new", Fault::Signature),
        ("rsa", Fault::NoKey),
        ("", Fault::NoKey),
        ("../../../dev/null", Fault::NoKey),
        ("/etc/passwd", Fault::NoKey),
        ("old' OR '1'='1", Fault::NoKey),
        ("old\\u0000", Fault::NoKey),
        ("https://evil.example/jwks.json", Fault::NoKey),
    ] {
        let header = format!(r#"{{"alg":"HS256","kid":"{kid}"}}"#);
        assert_eq!(tokens.identity(&by_old(&header), NOW).unwrap_err(), fault, "{kid}");
    }
    // A key that the token brings along is not asked.
    let brought = r#"{"alg":"HS256","jwk":{"kty":"oct","k":"AAAA"},"jku":"https://evil.example/","x5u":"x"}"#;
    let signed = format!("{}.{}", b64(brought), b64(GOOD));
    let token = format!("{signed}.{}", b64(signature(Hs256, b"\0\0\0", signed.as_bytes())));
    assert_eq!(tokens.identity(&token, NOW).unwrap_err(), Fault::Signature);
    // An empty secret, as of a file that is not there.
    let token = format!("{signed}.{}", b64(signature(Hs256, b"", signed.as_bytes())));
    assert_eq!(tokens.identity(&token, NOW).unwrap_err(), Fault::Signature);
}

#[test]
fn what_was_revoked_is_refused_and_what_came_after_is_not() {
    let tokens = one(Hs256);
    let at = |seconds: u64| Now { mono_ms: 0, unix_ms: seconds * 1_000 };
    let with = |more: &str| but("}", &format!(",{more}}}"));
    let (first, second) = (with(r#""jti":"t1""#), with(r#""jti":"t2","iat":1700000000"#));
    let _ = tokens.revoked.token("t1", None, NOW).unwrap();
    assert_eq!(tokens.identity(&first, NOW).unwrap_err(), Fault::Revoked);
    assert_eq!(tokens.check(&first, NOW).unwrap_err().0, ErrorCode::TokenInvalid);
    assert!(tokens.identity(&second, NOW).is_ok());
    let _ = tokens.revoked.user("ann", None, NOW).unwrap();
    assert_eq!(tokens.identity(&second, NOW).unwrap_err(), Fault::Revoked);
    assert_eq!(tokens.identity(&saying(GOOD), NOW).unwrap_err(), Fault::Revoked, "it may be old");
    assert!(tokens.identity(&with(r#""iat":1700000001"#), at(1_700_000_002)).is_ok());
    assert!(tokens.identity(&but("ann", "bob"), NOW).is_ok());
    // When the last token of a user has ended anyway, nothing need be remembered; here one lives on.
    let _ = tokens.revoked.user("bob", Some(NOW.unix_ms + 5_000), NOW).unwrap();
    assert_eq!(tokens.identity(&but("ann", "bob"), NOW).unwrap_err(), Fault::Revoked);
    assert!(tokens.identity(&but("ann", "bob"), at(1_700_000_007)).is_ok());
}

#[test]
fn a_ring_knows_which_keys_are_gone_and_what_was_revoked() {
    let key = |id: Option<&str>, secret: &str| Key::new(id, Hs256, secret.as_bytes()).unwrap();
    let rsa = || Key::new(None, Algorithm::Rs256, RSA_PUBLIC.as_bytes()).unwrap();
    let tokens = |keys| Tokens::new(keys, Demands::default());
    let ring = Keyring::new(Some(&tokens(vec![key(None, SECRET), rsa()])), Revoked::default());
    let by_first = ring.check(&saying(GOOD), NOW).unwrap().signed_by;
    assert_eq!(by_first, 1);
    let _ = ring.revoked().token("t1", None, NOW).unwrap();
    // Another one comes first, and the old one gets an id: it is the same.
    let gone = ring.change(Some(&tokens(vec![key(None, OTHER_SECRET), key(Some("old"), SECRET), rsa()])));
    assert_eq!((gone, ring.check(&saying(GOOD), NOW).unwrap().signed_by), (vec![], by_first));
    assert_eq!(ring.change(Some(&tokens(vec![key(None, OTHER_SECRET), rsa()]))), [by_first]);
    assert!(ring.check(&saying(GOOD), NOW).is_err());
    assert_eq!(ring.change(None), [3, 2]);
    assert!(ring.check(&saying(GOOD), NOW).is_err());
    // One that comes back is a new one: who came in by the old one has been told.
    assert!(ring.change(Some(&tokens(vec![key(None, SECRET)]))).is_empty());
    assert_eq!(ring.check(&saying(GOOD), NOW).unwrap().signed_by, 4);
    assert!(ring.check(&but("}", r#","jti":"t1"}"#), NOW).is_err(), "what was revoked stays so");
}

#[test]
fn tokens_for_one_channel_are_another_kind() {
    let tokens = one(Hs256);
    let token = but("}", r#","channel":"chat:1"}"#);
    let entrance = tokens.entrance(&token, NOW).unwrap();
    assert_eq!((entrance.user.as_deref(), &*entrance.channel), (Some("ann"), "chat:1"));
    assert_eq!(entrance.expires_at, Some(1_700_000_600_000));
    assert_eq!(tokens.entrance(&saying(GOOD), NOW).unwrap_err(), Fault::ForConnect);
    assert_eq!(tokens.check_entrance(&saying(GOOD), NOW).unwrap_err().0, ErrorCode::TokenInvalid);
}

#[test]
fn equal_permits_are_one() {
    let tokens = one(Hs256);
    let permit = |n: usize, user: &str| {
        let token =
            saying(&GOOD.replace("ann", user).replace('}', &format!(r#","allow":{{"c{n}":["history"]}}}}"#)));
        tokens.identity(&token, NOW).unwrap().permit.unwrap()
    };
    let (ann, bob) = (permit(0, "ann"), permit(0, "bob"));
    assert!(std::sync::Arc::ptr_eq(&ann, &bob));
    // Those that nobody has are not kept for ever.
    for n in 1..3_000 {
        permit(n, "ann");
    }
    let known = tokens.permits.lock().unwrap().0.len();
    assert!(known <= 1_024, "{known}");
    assert!(std::sync::Arc::ptr_eq(&ann, &permit(0, "carl")));
}

#[test]
fn nothing_of_a_token_is_shown() {
    let claims = one(Hs256).read(&saying(GOOD), NOW).unwrap();
    assert_eq!(format!("{claims:?}"), "Claims(***)");
    let shown = format!("{:?}", one(Hs256));
    assert!(!shown.contains(SECRET) && !shown.contains("ann"), "{shown}");
}
