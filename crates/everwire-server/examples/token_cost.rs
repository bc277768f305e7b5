//! What one accepted token costs, from its text to an identity: `cargo run --release --example token_cost`.

use std::hint::black_box;
use std::time::Instant;

use everwire_engine::time::Now;
use everwire_server::auth::{Algorithm, Demands, Key, Tokens, Wanted, sign};
use serde_json::json;

const NOW: Now = Now { mono_ms: 0, unix_ms: 1_700_000_000_000 };
const TIMES: u32 = 20_000;

fn main() {
    let rules =
        json!({ "allow": { "chat:*": ["subscribe", "publish", "history"] }, "jti": "0f8fad5bd9cb469fa165" });
    for (what, others) in [("sub, iat, exp", json!({})), ("and jti, allow", rules)] {
        for algorithm in [Algorithm::Hs256, Algorithm::Hs512] {
            let key = || Key::new(None, algorithm, b"0123456789abcdef0123456789abcdef").expect("32 bytes");
            let wanted = Wanted {
                user: Some("ann".into()),
                issued_s: 1_699_999_000,
                expires_s: Some(1_700_000_600),
                others: others.as_object().cloned().unwrap_or_default(),
            };
            let token = sign(&key(), &wanted).expect("a key with a secret signs");
            let tokens = Tokens::new(vec![key()], Demands::default());
            // The median of rounds: a busy machine slows some of them.
            let mut rounds: Vec<_> = (0..21)
                .map(|_| {
                    let begun = Instant::now();
                    for _ in 0..TIMES {
                        black_box(tokens.identity(black_box(&token), NOW)).expect("it is a good one");
                    }
                    begun.elapsed() / TIMES
                })
                .collect();
            rounds.sort_unstable();
            #[expect(clippy::print_stdout, reason = "it is what this program is for")]
            {
                println!("{} {what} ({} bytes): {:?}", algorithm.as_str(), token.len(), rounds[10]);
            }
        }
    }
}
