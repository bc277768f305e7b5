//! tokio-tungstenite on one thread: `tungstenite PORT`. An echo at /echo; what one says at /fanout goes to all the
//! others there.

use std::io::Result;

use everwire_rivals::{BEHIND, READ_BUFFER, end_with_input, listen};
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, future};
use tokio::net::TcpStream;
use tokio::sync::broadcast;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

type Said = (u64, Message);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let listener = listen()?;
    end_with_input();
    let (said, _) = broadcast::channel(BEHIND);
    for number in 0.. {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        // Whoever goes away ends its own task; nobody else cares.
        tokio::spawn(serve(stream, number, said.clone()));
    }
    Ok(())
}

async fn serve(
    stream: TcpStream,
    number: u64,
    said: broadcast::Sender<Said>,
) -> std::result::Result<(), Error> {
    let mut fanout = false;
    // The error is as large as the trait of the library wants it.
    #[allow(clippy::result_large_err, reason = "the callback's type is the library's")]
    let look = |request: &Request, response: Response| -> std::result::Result<Response, ErrorResponse> {
        fanout = request.uri().path() == "/fanout";
        Ok(response)
    };
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER);
    let socket = accept_hdr_async_with_config(stream, look, Some(config)).await?;
    if fanout { take_part(socket, number, said).await } else { echo(socket).await }
}

/// As in its example: `forward` flushes when nothing more is there to read.
async fn echo(socket: WebSocketStream<TcpStream>) -> std::result::Result<(), Error> {
    let (write, read) = socket.split();
    read.try_filter(|message| future::ready(message.is_text() || message.is_binary())).forward(write).await
}

async fn take_part(
    mut socket: WebSocketStream<TcpStream>,
    number: u64,
    said: broadcast::Sender<Said>,
) -> std::result::Result<(), Error> {
    let mut heard = said.subscribe();
    loop {
        tokio::select! {
            message = socket.next() => match message {
                // Nobody hears it: fine.
                Some(Ok(message)) if message.is_text() => drop(said.send((number, message))),
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
