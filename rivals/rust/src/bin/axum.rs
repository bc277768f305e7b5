//! axum on one thread: `axum PORT`. An echo at /echo; what one says at /fanout goes to all the others there.

use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::routing::any;
use axum::serve::ListenerExt as _;
use everwire_rivals::{BEHIND, READ_BUFFER, end_with_input, listen};
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, future};
use tokio::sync::broadcast;

#[derive(Clone)]
struct Room {
    said: broadcast::Sender<(u64, Message)>,
    next: Arc<AtomicU64>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let listener = listen()?.tap_io(|stream| {
        // A socket that can't be set ends by itself.
        let _ = stream.set_nodelay(true);
    });
    end_with_input();
    let room = Room { said: broadcast::channel(BEHIND).0, next: Arc::default() };
    let app = Router::new()
        .route("/echo", any(|upgrade: WebSocketUpgrade| async { open(upgrade).on_upgrade(echo) }))
        .route("/fanout", any(fanout))
        .with_state(room);
    axum::serve(listener, app).await
}

fn open(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.read_buffer_size(READ_BUFFER)
}

async fn fanout(State(room): State<Room>, upgrade: WebSocketUpgrade) -> Response {
    open(upgrade).on_upgrade(|socket| async {
        // Whoever goes away ends its own task; nobody else cares.
        let _ = take_part(socket, room).await;
    })
}

async fn echo(socket: WebSocket) {
    let (write, read) = socket.split();
    let is_data = |message: &Message| matches!(message, Message::Text(_) | Message::Binary(_));
    // An end of the connection is an end.
    let _ = read.try_filter(|message| future::ready(is_data(message))).forward(write).await;
}

async fn take_part(mut socket: WebSocket, room: Room) -> std::result::Result<(), axum::Error> {
    let number = room.next.fetch_add(1, Ordering::Relaxed);
    let mut heard = room.said.subscribe();
    loop {
        tokio::select! {
            message = socket.next() => match message {
                // Nobody hears it: fine.
                Some(Ok(message @ Message::Text(_))) => drop(room.said.send((number, message))),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            },
            first = heard.recv() => {
                let Ok(mut next) = first else { return Ok(()) };
                // All that wait leave in one write.
                loop {
                    if next.0 != number {
                        socket.feed(next.1).await?;
                    }
                    let Ok(more) = heard.try_recv() else { break };
                    next = more;
                }
                socket.flush().await?;
            }
        }
    }
}
