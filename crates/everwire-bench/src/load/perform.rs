//! A run from its beginning to its outcome.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::args::{Job, Usage};
use super::gauge::{Door, Gauge, Reading};
use super::outcome::{self, Latency, Loader, Outcome, Part, SCHEMA, Server};
use super::plan::{Kind, Plan};
use super::run::{Run, Scenario, Setting};
use super::scenario;
use super::target::{Limits, Target};
use crate::clock::now_ns;
use crate::machine;
use crate::swarm::{Opening, Swarm};
use crate::watched::Watched;

/// A connection that publishes is given so much of what its server allows.
const SHARE: f64 = 0.8;
/// More connections are not opened for publishing alone unless they are asked for.
const PUBLISHERS: usize = 200;
/// The load tool is at its end when its core is busy for more than this.
const BUSY: f64 = 0.9;
/// Sends that are later than this, ms, and than a tenth of the median, spoil the latencies.
const LATE_MS: f64 = 1.0;

/// Does it. `stop` ends it early, with what there is so far.
///
/// # Errors
/// It could not begin: a [`Usage`], or what is wrong with the server.
pub fn perform(job: &Job, command: String, stop: Arc<AtomicBool>) -> Result<Outcome> {
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let from = job.plan.sources.first().copied();
    let target = Target::look(&job.plan.url, &job.dialect, &job.headers, job.ca.as_deref(), from)?;
    let mut plan = job.plan.clone();
    plan.publishers = publishers(&plan, target.limits);
    let mut warnings = job.warnings.clone();
    fits(&plan, target.limits)?;
    for pid in &job.pids {
        Watched::new(*pid).map_err(|error| Usage(format!("--pid {pid}: it can't be watched: {error}")))?;
    }
    let seal = match &target.opening {
        Opening::Sealed(_, seal) => Some(seal.clone()),
        Opening::WebSocket(_) | Opening::Bare => None,
    };
    let door =
        Door { address: target.address, host: target.host, headers: job.metrics_headers.clone(), seal };
    let gauge = Gauge::find(door, &job.pids);
    // A sleep is as long as was asked for; where the kernel refuses, latencies are a little longer.
    let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1_000));
    let limits = target.limits;
    let setting = Setting {
        to: target.address,
        opening: target.opening,
        dialect: job.dialect.clone(),
        channel: job.channel.clone(),
        limits,
        gauge,
        stop,
    };
    let mut swarm = Swarm::new()?;
    let (mut scenario, population) = scenario::of(&plan);
    let mut run = Run::new(plan, setting)?;
    let before = run.meter.gauge.read(true);
    run.gather(&mut swarm, scenario.as_mut(), population)?;
    let open = run.ready;
    let broken = play(&mut run, &mut swarm, scenario.as_mut(), population).err();
    run.clear_progress();
    scenario.end(&mut run.tally);
    let mut outcome = Outcome {
        schema: SCHEMA,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        command,
        started_ms: u64::try_from(started.as_millis()).unwrap_or(0),
        machine: machine::words(),
        stopped: run.is_stopped(),
        broken: broken.map(|error| format!("{error:#}")),
        open,
        ..of_run(&run, before)
    };
    if outcome.broken.is_none()
        && outcome.received == 0
        && !outcome.stopped
        && run.plan.scenario != Kind::Idle
    {
        let why = outcome.first_error.as_deref().unwrap_or("is it the right --protocol?");
        outcome.broken = Some(format!("nothing came back in {:.1} s: {why}", outcome.measured_ms / 1e3));
    }
    warnings.extend(limited(&outcome, limits));
    warnings.extend(own(&outcome));
    outcome.warnings = warnings;
    Ok(outcome)
}

/// The schedule, the time that counts, and the wait for stragglers.
fn play(run: &mut Run, swarm: &mut Swarm, scenario: &mut dyn Scenario, population: usize) -> Result<()> {
    let start_ns = now_ns();
    let window_ns = start_ns + run.plan.warmup_ms * 1_000_000;
    let end_ns = window_ns + run.plan.duration_ms * 1_000_000;
    run.until_ns = end_ns;
    run.heard_ns = start_ns;
    scenario.begin(run, start_ns);
    run.meter.begin_series(&mut run.tally);
    // Whoever has lost all connections has nothing more to learn.
    let dead = move |_: &dyn Scenario, run: &Run| population > 0 && run.ready == 0;
    let storms = run.plan.scenario == Kind::Recover;
    if storms {
        // A storm is finished once it has begun, and opens its own spans.
        run.tally.window = (start_ns, u64::MAX);
        run.drive(swarm, scenario, end_ns, "storms", |_, _| false)?;
    } else {
        run.drive(swarm, scenario, window_ns, "warm-up", dead)?;
        run.tally.window = (window_ns, end_ns);
        run.meter.close_slice(&mut run.tally);
        run.meter.open_span(swarm.calls);
        run.drive(swarm, scenario, end_ns, "running", dead)?;
        run.meter.close_slice(&mut run.tally);
        run.meter.close_span(swarm.calls);
    }
    let patience_ns = run.plan.drain_ms * 1_000_000;
    run.heard_ns = run.heard_ns.max(now_ns());
    run.drive(swarm, scenario, u64::MAX, "waiting", |scenario, run| {
        scenario.is_settled() || now_ns() > run.heard_ns + patience_ns || (!storms && dead(scenario, run))
    })?;
    if storms {
        // Of a storm that was stopped.
        run.meter.close_span(swarm.calls);
        run.meter.close_slice(&mut run.tally);
    }
    anyhow::ensure!(
        population == 0 || run.ready > 0 || run.is_stopped(),
        "all connections have ended: {}",
        run.tally.first_error.as_deref().unwrap_or("the server said nothing")
    );
    Ok(())
}

/// How many connections publish where nobody said.
fn publishers(plan: &Plan, limits: Limits) -> usize {
    let allowed =
        limits.commands_per_second.filter(|allowed| *allowed > 0).map(|allowed| allowed as f64 * SHARE);
    match (plan.scenario, allowed) {
        _ if plan.publishers > 0 => plan.publishers,
        (Kind::Fanout, Some(allowed)) => ((plan.rate / allowed).ceil() as usize).clamp(1, PUBLISHERS),
        (Kind::Fanout, None) => 1,
        (Kind::Recover, _) => plan.channels.min(PUBLISHERS),
        _ => 0,
    }
}

/// Whether the server takes messages of this size.
fn fits(plan: &Plan, limits: Limits) -> Result<(), Usage> {
    match limits.message_bytes {
        Some(most) if plan.size as u64 + 256 > most => Err(Usage(format!(
            "--size {}: the server takes messages of {most} bytes (`message_bytes` in its config)",
            plan.size
        ))),
        _ => Ok(()),
    }
}

/// Whether the server's rate limit was what was measured.
fn limited(outcome: &Outcome, limits: Limits) -> Option<String> {
    let (plan, allowed) = (&outcome.plan, limits.commands_per_second?);
    let senders = match plan.scenario {
        Kind::Fanout => plan.publishers,
        Kind::Pingpong | Kind::Mixed => plan.conns,
        _ => return None,
    };
    let closed = plan.rate == 0.0;
    let all = if closed { outcome.sent as f64 / outcome.measured_ms.max(1.0) * 1e3 } else { plan.rate };
    let each = all / senders.max(1) as f64;
    // A loop that waits for answers goes as fast as it is let.
    let most = allowed as f64 * if closed { 0.7 } else { 1.0 };
    (each > most).then(|| {
        format!(
            "the server allows a connection {allowed} commands a second and was asked for {each:.0}: it slowed them \
             down, and that is what was measured (`commands_per_second` in its config, or more --publishers or --conns)"
        )
    })
}

/// What was counted, in the units of a report.
fn of_run(run: &Run, before: Reading) -> Outcome {
    let (tally, spans, plan) = (&run.tally, &run.meter.spans, &run.plan);
    let seconds = spans.wall_ns as f64 / 1e9;
    let each = |value: f64| (tally.received > 0).then(|| value / tally.received as f64);
    let (cpu_ns, population) = (spans.server.cpu_ns, run.ready.max(1) as f64);
    let stays = !matches!(plan.scenario, Kind::Connect | Kind::Churn);
    let grown = spans.server.resident_bytes.zip(before.resident_bytes).filter(|_| stays);
    // Sockets are read with `recv`: a count without them says nothing about messages.
    let calls = spans.server.calls.filter(|calls| *calls * 10 > tally.received);
    let server = Server {
        source: run.meter.gauge.source.clone(),
        cpu_s: cpu_ns.map(|ns| ns as f64 / 1e9),
        cpu_per_message_us: cpu_ns.and_then(|ns| each(ns as f64 / 1e3)),
        messages_per_cpu_s: cpu_ns
            .filter(|ns| *ns > 0)
            .map(|ns| tally.received as f64 / (ns as f64 / 1e9))
            .filter(|rate| *rate > 0.0),
        memory_bytes: spans.server.resident_bytes,
        memory_per_connection: grown.map(|(after, before)| after.saturating_sub(before) as f64 / population),
        cpu_per_connection_us: cpu_ns
            .filter(|_| plan.scenario == Kind::Idle)
            .map(|ns| ns as f64 / 1e3 / population / seconds.max(1e-9)),
        calls_per_message: calls.and_then(|calls| each(calls as f64)),
        waits_per_message: spans.server.waits.and_then(|waits| each(waits as f64)),
    };
    Outcome {
        schema: SCHEMA,
        version: String::new(),
        command: String::new(),
        started_ms: 0,
        machine: String::new(),
        counted: plan.scenario.words().0.to_owned(),
        stopped: false,
        broken: None,
        measured_ms: spans.wall_ns as f64 / 1e6,
        open: 0,
        sent: tally.sent,
        received: tally.received,
        rate: if seconds > 0.0 { tally.received as f64 / seconds } else { 0.0 },
        loss: tally.loss,
        duplicates: tally.duplicates,
        reordered: tally.reordered,
        errors: tally.errors,
        first_error: tally.first_error.clone(),
        latency: Latency::of(&tally.latency),
        curve: outcome::curve(&tally.latency),
        parts: tally
            .parts
            .iter()
            .filter_map(|part| {
                Some(Part { name: part.name.to_owned(), latency: Latency::of(&part.latency)? })
            })
            .collect(),
        server,
        loader: Loader {
            cpu_s: spans.own_ns as f64 / 1e9,
            busy: if spans.wall_ns > 0 { spans.own_ns as f64 / spans.wall_ns as f64 } else { 0.0 },
            calls_per_message: each(spans.own_calls as f64).unwrap_or(0.0),
            late_p99: outcome::ms(tally.lateness.value_at_quantile(0.99)),
        },
        series: run.meter.series.clone(),
        warnings: Vec::new(),
        asserts: Vec::new(),
        plan: plan.clone(),
    }
}

/// Where the load tool itself may be what was measured.
fn own(outcome: &Outcome) -> Vec<String> {
    let mut warnings = Vec::new();
    if outcome.loader.busy > BUSY {
        warnings.push(format!(
            "the load tool's own core was {:.0} % busy: the server could perhaps do more, and latencies are partly the tool's",
            outcome.loader.busy * 100.0
        ));
    }
    let plan = &outcome.plan;
    let planned = plan.rate * outcome.measured_ms / 1e3;
    let keeps_time = !matches!(plan.scenario, Kind::Idle | Kind::Recover) && plan.ramp_ms == 0;
    if keeps_time && !outcome.stopped && (outcome.sent as f64) < 0.98 * planned - 2.0 {
        let why = match plan.scenario {
            Kind::Connect | Kind::Churn => "--conns of them were there at a time, or the load tool was late",
            _ => "the load tool could not send more",
        };
        warnings.push(format!(
            "{} of {planned:.0} began in time ({why}): what was measured is a smaller load",
            outcome.sent
        ));
    }
    let (late, median) = (outcome.loader.late_p99, outcome.latency.map_or(0.0, |latency| latency.p50));
    if late > LATE_MS && late > median / 10.0 {
        warnings.push(format!(
            "the load tool sent late, by {late:.1} ms at the 99th percentile (it was busy, or had no core in time): that is in the latencies"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::outcome::sample;
    use crate::load::plan;

    const DEV: Limits = Limits { commands_per_second: Some(50), message_bytes: Some(65_536) };

    #[test]
    fn there_are_as_many_publishers_as_the_server_asks_for() {
        let mut fanout = plan::sample(Kind::Fanout);
        fanout.publishers = 0;
        for (rate, limits, count) in
            [(20.0, DEV, 1), (400.0, DEV, 10), (400.0, Limits::default(), 1), (1e9, DEV, 200)]
        {
            fanout.rate = rate;
            assert_eq!(publishers(&fanout, limits), count, "{rate}");
        }
        fanout.publishers = 3;
        assert_eq!(publishers(&fanout, DEV), 3);
        assert_eq!(publishers(&Plan { publishers: 0, channels: 7, ..plan::sample(Kind::Recover) }, DEV), 7);
    }

    #[test]
    fn limits_that_were_met_are_told() {
        let mut outcome = sample(Kind::Pingpong);
        (outcome.plan.conns, outcome.plan.rate) = (10, 400.0);
        assert_eq!(limited(&outcome, DEV), None);
        outcome.plan.rate = 600.0;
        assert!(limited(&outcome, DEV).unwrap().contains("asked for 60"));
        // 10 s, 10 connections.
        (outcome.plan.rate, outcome.sent) = (0.0, 4_900);
        assert!(limited(&outcome, DEV).unwrap().contains("asked for 49"));
        outcome.sent = 1_000;
        assert_eq!(limited(&outcome, DEV), None);
        outcome.plan.size = 65_500;
        assert!(fits(&outcome.plan, DEV).is_err() && fits(&outcome.plan, Limits::default()).is_ok());
    }

    #[test]
    fn a_load_tool_at_its_end_says_so() {
        let mut outcome = sample(Kind::Fanout);
        outcome.sent = 190;
        assert!(own(&outcome)[0].contains("190 of 200 began in time"));
        outcome.sent = 199;
        assert_eq!(own(&outcome), Vec::<String>::new());
        outcome.loader.busy = 0.95;
        outcome.loader.late_p99 = 2.0;
        let warnings = own(&outcome);
        assert!(warnings[0].contains("95 % busy") && warnings[1].contains("late, by 2.0 ms"), "{warnings:?}");
    }
}
