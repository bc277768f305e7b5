//! `everwire bench` against the real server, against one that lies, and against none.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread;

use everwire_bench::load::outcome::Outcome;
use everwire_proto::ws::handshake::accept_for;
use rustix::process::{Pid, Signal, kill_process};

use crate::pki::Pair;
use crate::process::{Process, Scratch};
use crate::wire::Wire;

/// A run that is short, and small enough for a machine that does other things.
const SHORT: &str = "--warmup 100ms --duration 300ms --drain 2s";

fn dev() -> Process {
    Process::run(&["dev", "--listen", "127.0.0.1:0"])
}

/// `everwire bench` with these words.
fn command(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everwire"));
    command.arg("bench").args(words.split_whitespace());
    command
}

fn bench(words: &str) -> Output {
    command(words).output().unwrap()
}

/// What a run brought that came to its end.
#[track_caller]
fn outcome(words: &str) -> Outcome {
    let output = bench(&format!("{words} --json -"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words}: {said}");
    Outcome::parse(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// Runs a scenario against the real server; nothing may be lost, doubled or refused.
#[track_caller]
fn clean(scenario: &str, path: &str, words: &str) -> Outcome {
    let server = dev();
    let outcome = outcome(&format!("{scenario} --url ws://{}{path} {SHORT} {words}", server.addr));
    let faults = (outcome.loss, outcome.duplicates, outcome.errors, outcome.first_error.as_deref());
    assert_eq!(faults, (0, 0, 0, None), "{scenario}");
    assert!(outcome.server.source.starts_with("process "), "{}", outcome.server.source);
    assert!(outcome.server.memory_bytes.unwrap() > 1 << 20 && outcome.server.cpu_s.is_some());
    assert!(outcome.series.iter().any(|slot| slot.counts));
    outcome
}

#[test]
fn fanout_counts_every_delivery() {
    let outcome = clean("fanout", "/ws", "--conns 30 --channels 3 --zipf 0.5 --rate 100 --ramp 100ms");
    // 100 a second, of whom the server allows a connection 50.
    assert_eq!((outcome.plan.publishers, outcome.open), (3, 33));
    assert!(outcome.sent >= 10 && outcome.latency.unwrap().count >= 100, "{outcome:?}");
    let closed = clean("fanout", "/ws", "--conns 5 --rate 0 --in-flight 2");
    assert!(
        closed.warnings.iter().any(|words| words.contains("commands_per_second")),
        "{:?}",
        closed.warnings
    );
}

#[test]
fn echo_goes_round_by_schedule_and_as_fast_as_it_goes() {
    let outcome = clean("echo", "/echo/raw", "--conns 4 --in-flight 3 --size 300");
    assert!(outcome.received > 100 && outcome.server.messages_per_cpu_s.unwrap() > 100.0, "{outcome:?}");
    // The tutorial's echo answers with words before the message.
    let outcome = clean("echo", "/echo", "--conns 4 --rate 200");
    assert!((10..=80).contains(&outcome.sent), "{}", outcome.sent);
}

#[test]
fn pingpong_publishes_to_a_channel_of_its_own() {
    let outcome = clean("pingpong", "/ws", "--conns 10 --rate 100 --source 127.0.0.1 --source 127.0.0.2");
    assert!(outcome.latency.unwrap().count >= 10, "{outcome:?}");
}

#[test]
fn connect_opens_and_closes() {
    let outcome = clean("connect", "/ws", "--conns 20 --rate 100");
    assert!(outcome.received >= 10, "{outcome:?}");
    assert!(clean("connect", "/echo/raw", "--protocol raw --conns 5 --rate 0").received >= 10);
}

#[test]
fn idle_tells_what_a_connection_costs() {
    let outcome = clean("idle", "/ws", "--conns 100");
    assert_eq!((outcome.open, outcome.latency), (100, None));
    assert!(outcome.server.memory_per_connection.is_some() && outcome.server.cpu_per_connection_us.is_some());
}

#[test]
fn churn_comes_receives_and_leaves() {
    let outcome = clean("churn", "/ws", "--conns 20 --channels 4 --rate 60");
    assert!(outcome.received >= 10, "{outcome:?}");
}

#[test]
fn recover_brings_back_what_was_missed() {
    let outcome = clean("recover", "/ws", "--conns 40 --channels 4 --missed 20");
    assert!(outcome.received >= 40 && outcome.received.is_multiple_of(40), "{outcome:?}");
    assert!(outcome.sent >= 80, "{outcome:?}");
    clean("recover", "/ws", "--conns 10 --channels 2 --missed 0 --rate 200");
}

#[test]
fn mixed_answers_every_command() {
    let outcome = clean("mixed", "/ws", "--conns 20 --channels 4 --rate 400");
    let names: Vec<_> = outcome.parts.iter().map(|part| part.name.as_str()).collect();
    for name in ["publish", "ping", "presence", "history", "subscribe", "delivery", "opening"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
}

#[test]
fn a_page_is_written_and_runs_are_compared() {
    let server = dev();
    let (a, b, page) =
        (Scratch::new("a.json", ""), Scratch::new("b.json", ""), Scratch::new("page.html", ""));
    let url = format!("--url ws://{}/echo/raw {SHORT}", server.addr);
    for (file, words) in [(&a, "--rate 100"), (&b, "--rate 100")] {
        let output = bench(&format!(
            "echo {url} {words} --json {} --html {}",
            file.path().display(),
            page.path().display()
        ));
        let table = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(0), "{table}");
        assert!(table.starts_with("echo  ws://") && table.contains("\n  latency        p50 "), "{table}");
    }
    assert!(page.read().contains("<figcaption>Latency over time"));
    let (a, b) = (a.path().display(), b.path().display());
    let table = bench(&format!("compare {a} {b}"));
    assert_eq!(table.status.code(), Some(0));
    assert!(String::from_utf8(table.stdout).unwrap().contains("\np99 "));
    let other = Scratch::new("c.json", "");
    bench(&format!("echo {url} --rate 50 --json {}", other.path().display()));
    let refused = bench(&format!("compare {a} {}", other.path().display()));
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("rate 100 and 50"));
}

/// Expects an exit code and words on standard error.
#[test]
fn over_tls_everything_comes_too() {
    let pair = Pair::new();
    let (files, open) = (pair.files(), "\"anyone\"");
    let server = Process::serve(&format!(
        "listen = [\"127.0.0.1:0\"]\n[tls]\ncert_file = {:?}\nkey_file = {:?}\n[namespaces.default]\nhistory = {{}}\n\
         presence = true\naccess = {{ subscribe = {open}, publish = {open}, history = {open}, presence = {open} }}\n",
        files.cert, files.key
    ));
    // A handshake takes its time where others work too: all that is begun counts, whenever it is done.
    let patient = "--warmup 0s --duration 500ms --drain 10s";
    let at = format!("--url wss://localhost:{}/ws {patient}", server.addr.port());
    let ca = files.cert.display();
    for scenario in [
        "fanout --conns 20 --channels 2 --rate 40",
        // More than TLS takes at once, and more than one of its records.
        "fanout --conns 5 --rate 0 --in-flight 4 --size 60000",
        "connect --conns 5 --rate 20",
        "recover --conns 10 --channels 2 --missed 20",
    ] {
        let outcome = outcome(&format!("{scenario} {at} --ca {ca}"));
        let faults = (outcome.loss, outcome.duplicates, outcome.errors, outcome.first_error.as_deref());
        assert_eq!(faults, (0, 0, 0, None), "{scenario}");
        assert!(outcome.received > 0, "{scenario}: {outcome:?}");
    }
    fails(&format!("fanout {at}"), 1, "by --ca");
}

/// A report is made to be handed on.
#[test]
fn no_secret_stands_in_a_report() {
    let server = dev();
    let page = Scratch::new("report.html", "");
    let secret = "S3CRET-0123456789";
    let output = bench(&format!(
        "echo --url ws://{}/echo/raw?token={secret} --header X-API-Key:{secret} --metrics-key {secret} {SHORT} --conns 2 \
         --rate 50 --json - --html {}",
        server.addr,
        page.path().display()
    ));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let said = [output.stdout, output.stderr].concat();
    for text in [String::from_utf8(said).unwrap(), page.read()] {
        assert!(text.contains("***") && text.contains("X-API-Key"), "{text}");
        assert!(!text.contains(secret), "{text}");
    }
}

#[track_caller]
fn fails(words: &str, code: i32, part: &str) {
    let output = bench(words);
    let said = String::from_utf8_lossy(&output.stderr);
    let said = format!("{said}{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(code), "{words}: {said}");
    assert!(said.contains(part), "{words}: {said}");
}

#[test]
fn what_goes_wrong_is_told_with_what_to_do() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fails(&format!("fanout --url ws://127.0.0.1:{port}/ws"), 1, "nothing listens at");
    let server = dev();
    let at = server.addr;
    fails(&format!("fanout --url ws://{at}/nowhere"), 1, "the path /nowhere answered 404");
    fails(&format!("fanout --url ws://{at}/ws --subprotocol other"), 1, "answered 400");
    fails(&format!("fanout --url ws://{at}/ws --header Origin:http://evil.example"), 1, "answered 403");
    fails(&format!("fanout --url ws://{at}/ws --size 70000"), 2, "message_bytes");
    fails(
        &format!("echo --url ws://{at}/echo/raw {SHORT} --rate 50 --assert p50<1ns"),
        1,
        "FAILS: p50<1ns (it is ",
    );
    fails(&format!("fanout --url ws://{at}/ws --pid 4000000000"), 2, "--pid 4000000000");
    fails("fanout --assert p98<1", 2, "memory_per_connection");
    fails("fanout --conns 100000000", 2, "10 million");
    fails("compare nowhere.json nowhere.json", 2, "nowhere.json can't be read");
    // Nobody answers in the words that are waited for.
    fails(
        &format!("echo --url ws://{at}/ws --protocol raw {SHORT} --conns 2 --rate 20"),
        1,
        "nothing came back",
    );
}

#[test]
fn a_refused_publish_names_the_config() {
    let server = Process::serve(
        "listen = [\"127.0.0.1:0\"]\n[namespaces.default]\naccess = { subscribe = \"anyone\", publish = \"deny\" }\n",
    );
    let words =
        format!("fanout --url ws://{}/ws --warmup 0s --duration 200ms --drain 100ms --conns 2", server.addr);
    fails(&words, 1, "permission_denied");
    fails(&words, 1, "access = {");
}

#[test]
fn ctrl_c_ends_with_the_table_so_far() {
    let server = dev();
    let idle = server.descriptors();
    let words = format!(
        "echo --url ws://{}/echo/raw --warmup 0s --duration 60s --conns 2 --rate 100 --json -",
        server.addr
    );
    let child = command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Its connections are there, so it runs.
    crate::world::until("the run has begun", || server.descriptors() >= idle + 2);
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("stopped before its time"), "{said}");
    assert!(Outcome::parse(&String::from_utf8(output.stdout).unwrap()).unwrap().stopped);
}

#[test]
fn a_server_that_goes_ends_the_run_with_what_there_was() {
    let server = dev();
    let words = format!(
        "fanout --url ws://{}/ws --warmup 0s --duration 60s --conns 2 --rate 40 --json -",
        server.addr
    );
    let child = command(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    crate::world::until("the run has begun", || !stats(&server).contains("\"messages\":0,"));
    drop(server);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let outcome = Outcome::parse(&String::from_utf8(output.stdout).unwrap()).unwrap();
    assert!(outcome.broken.is_some_and(|words| words.contains("1012")), "{:?}", outcome.first_error);
    assert!(outcome.measured_ms < 30_000.0);
}

fn stats(server: &Process) -> String {
    let mut client = Wire::dial(server.addr);
    client.raw(b"GET /stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client.read_head();
    String::from_utf8(client.read_to_end()).unwrap()
}

/// Templates that make the words of a server which knows no Everwire.
#[test]
fn a_server_that_drops_and_doubles_is_found_out() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("ws://{}/any", listener.local_addr().unwrap());
    let server = thread::spawn(move || lie(&listener));
    let words = format!(
        "fanout --url {url} --protocol raw --first HI --greeted YO --subscribe sub --subscribed ok --answer 2=3 --publish pub:{{data}} --delivered msg: --size 100 \
         --conns 2 --rate 200 --warmup 0s --duration 500ms --drain 300ms"
    );
    let outcome = outcome(&words);
    let told = server.join().unwrap();
    assert!(told.dropped > 3 && told.doubled > 3 && told.swapped > 3, "{told:?}");
    assert_eq!(
        (outcome.loss, outcome.duplicates, outcome.reordered),
        (told.dropped, told.doubled, told.swapped)
    );
    assert_eq!((outcome.errors, outcome.plan.protocol.as_str()), (0, "raw with templates"));
}

#[derive(Debug, Default)]
struct Lies {
    dropped: u64,
    doubled: u64,
    swapped: u64,
}

/// Sends what the first connection says to the two others: of ten messages one is kept from the first of them, one comes
/// twice to the second, and one comes to it behind its successor.
fn lie(listener: &TcpListener) -> Lies {
    // The load tool looks first whether anybody is there.
    drop(greeted(listener));
    let mut publisher = greeted(listener);
    let [mut first, mut second] = [(); 2].map(|()| {
        let mut subscriber = greeted(listener);
        assert_eq!(heard(&mut subscriber), "sub");
        say(&mut subscriber, "ok");
        subscriber
    });
    let (mut lies, mut held) = (Lies::default(), None);
    let mut frame = [0; 6 + 4 + 100];
    let mut count = 0_u64;
    while publisher.read_exact(&mut frame).is_ok() {
        assert_eq!(&frame[..2], [0x81, 0x80 | 104]);
        let mask = [frame[2], frame[3], frame[4], frame[5]];
        let said: Vec<_> =
            frame[6..].iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        let data = said.strip_prefix(b"pub:").unwrap();
        let answer = [&[0x81, 104][..], b"msg:", data].concat();
        if count == 4 {
            say(&mut first, "2");
        }
        let place = count % 10;
        count += 1;
        if place == 3 {
            lies.dropped += 1;
        } else {
            let _ = first.write_all(&answer);
        }
        if place == 7 {
            held = Some(answer);
            continue;
        }
        let _ = second.write_all(&answer);
        if place == 5 {
            lies.doubled += 1;
            let _ = second.write_all(&answer);
        }
        if let Some(held) = held.take() {
            lies.swapped += 1;
            let _ = second.write_all(&held);
        }
    }
    assert_eq!(heard(&mut first), "3");
    // What was held back at the end never came.
    lies.dropped += u64::from(held.is_some());
    lies
}

/// Accepts a connection that says HI, and nothing more until it is answered.
fn greeted(listener: &TcpListener) -> TcpStream {
    let mut socket = upgraded(listener);
    assert_eq!(heard(&mut socket), "HI");
    socket.set_nonblocking(true).unwrap();
    assert!(socket.read(&mut [0]).is_err(), "it goes on before it is answered");
    socket.set_nonblocking(false).unwrap();
    say(&mut socket, "YO");
    socket
}

/// The text of a short masked frame.
fn heard(socket: &mut TcpStream) -> String {
    let mut head = [0; 6];
    socket.read_exact(&mut head).unwrap();
    assert!(head[0] == 0x81 && head[1] & 0x80 != 0);
    let mut text = vec![0; usize::from(head[1] & 0x7f)];
    socket.read_exact(&mut text).unwrap();
    let plain = text.iter().zip(head[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
    String::from_utf8(plain).unwrap()
}

fn say(socket: &mut TcpStream, text: &str) {
    let head = [0x81, u8::try_from(text.len()).unwrap()];
    socket.write_all(&[&head[..], text.as_bytes()].concat()).unwrap();
}

/// Accepts a connection and upgrades it.
fn upgraded(listener: &TcpListener) -> TcpStream {
    let mut socket = listener.accept().unwrap().0;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: ")).unwrap();
    let accept = accept_for(key.as_bytes());
    write!(
        socket,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .unwrap();
    socket
}
