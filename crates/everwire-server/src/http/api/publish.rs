//! `publish`, `broadcast`, `batch`.

use std::time::Duration;

use everwire_engine::inbox::Answer;
use everwire_engine::session::Deny;
use everwire_engine::verbs;
use everwire_proto::api::Broadcast;
use everwire_proto::codes::ErrorCode;
use everwire_proto::command::Publish;
use everwire_proto::json;
use everwire_proto::reply::Outgoing;
use tokio::time::Instant;

use super::access::Caller;
use super::error_of;
use crate::desk::Waiter;
use crate::site::Site;

/// A publish that was asked for.
enum Asked<'s> {
    Answered(Answer),
    Waits(Waiter<'s, Answer>),
}

impl<'s> Asked<'s> {
    fn begin(site: &'s Site, ask: &Publish<'_>) -> Result<Self, Deny> {
        let waiter = site.desk.wait();
        let answer = verbs::ask_publish(&site.node, ask, waiter.ticket, site.clock.now())?;
        Ok(answer.map_or(Self::Waits(waiter), Self::Answered))
    }

    /// Writes what became of it, when that is known.
    async fn finish(self, until: Instant, out: &mut Vec<u8>) -> Result<(), Deny> {
        let answer = match self {
            Self::Answered(answer) => answer,
            Self::Waits(waiter) => waiter.answer(until.saturating_duration_since(Instant::now())).await,
        };
        let (position, duplicate) = verbs::published(answer)?;
        json::encode(None, &Outgoing::Published { position: position.as_ref(), duplicate }, out);
        Ok(())
    }
}

fn deadline(site: &Site) -> Instant {
    Instant::now() + Duration::from_millis(site.node.settings().times.ask_ms)
}

pub(super) async fn one(site: &Site, ask: &Publish<'_>) -> Result<Vec<u8>, Deny> {
    let mut out = Vec::new();
    Asked::begin(site, ask)?.finish(deadline(site), &mut out).await?;
    Ok(out)
}

pub(super) async fn broadcast(site: &Site, caller: &Caller, ask: &Broadcast<'_>) -> Result<Vec<u8>, Deny> {
    check_count(site, ask.channels.len())?;
    let begin =
        |channel: &str| caller.must_be_for(channel).and_then(|()| Asked::begin(site, &ask.to(channel)));
    let begun = ask.channels.iter().map(|channel| begin(channel)).collect();
    Ok(results(site, "broadcast", begun).await)
}

pub(super) async fn batch(site: &Site, caller: &Caller, asks: &[Publish<'static>]) -> Result<Vec<u8>, Deny> {
    check_count(site, asks.len())?;
    let begin = |ask: &Publish<'_>| caller.must_be_for(&ask.channel).and_then(|()| Asked::begin(site, ask));
    let begun = asks.iter().map(begin).collect();
    Ok(results(site, "batch", begun).await)
}

fn check_count(site: &Site, count: usize) -> Result<(), Deny> {
    let most = site.config().api_limits.items as usize;
    if count <= most {
        return Ok(());
    }
    let words = format!("these are {count}, and {most} at once are the limit: send them in several requests");
    Err(Deny::new(ErrorCode::TooLarge, words))
}

/// What became of each of them: what `publish` would have answered. All were asked for before the first answer is waited
/// for, so that they are stored together.
async fn results(site: &Site, kind: &str, begun: Vec<Result<Asked<'_>, Deny>>) -> Vec<u8> {
    let until = deadline(site);
    let mut out = format!("{{\"type\":\"{kind}\",\"results\":[").into_bytes();
    for (at, asked) in begun.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        let done = match asked {
            Ok(asked) => asked.finish(until, &mut out).await,
            Err(deny) => Err(deny),
        };
        if let Err(deny) = done {
            site.node.counters.refuse(deny.code);
            json::encode(None, &error_of(&deny, &site.config().base_path), &mut out);
        }
    }
    out.extend_from_slice(b"]}");
    out
}
