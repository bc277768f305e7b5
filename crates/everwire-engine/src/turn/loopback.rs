//! The node listens to itself: a listener in each shard, on a channel that no client can name. What is published there
//! goes the way of every message, up to the carrier, so that who asks whether messages flow is told what is true.

use std::sync::Arc;

use super::Turn;
use crate::channel::{Access, Cell, Draft, OnSlow, Options, Publisher, Wanted, Who};
use crate::entry::Form;
use crate::hub::Listening;
use crate::inbox::Answer;
use crate::name::ChannelName;
use crate::node::Node;
use crate::ports::{Ask, Asked, Ticket};
use crate::session::Deny;
use crate::time::Now;
use everwire_proto::codes::ErrorCode;
use everwire_proto::payload::Payload;

/// The channel. It is in no table of the node, so it is neither counted nor evicted.
#[derive(Clone, Debug)]
pub struct Loopback(Arc<Cell>);

impl Loopback {
    /// Opens the channel at the node's broker.
    pub fn new(node: &Node, now: Now) -> Self {
        let options = Options {
            history: None,
            presence: false,
            access: Access::all(Who::Deny),
            on_slow: OnSlow::Drop,
            ..Options::open()
        };
        Self(Arc::new(node.broker.cell(ChannelName::loopback(), Arc::new(options), now)))
    }

    /// Publishes a number; every shard that listens is sent a message whose `data` it is.
    ///
    /// # Errors
    /// The broker did not take it.
    pub fn publish(&self, node: &Node, number: u64, now: Now) -> Result<(), Deny> {
        let draft = Draft {
            payload: Payload::Json(number.to_string().into_bytes().into()),
            message_id: None,
            publisher: Publisher::Backend,
            from: None,
            tags: Box::default(),
            volatile: true,
        };
        // Nobody waits under this number: that it was taken is seen when it comes.
        let ticket = Ticket { shard: 0, number: u64::MAX };
        match node.broker.ask(&self.0, Ask::Publish(draft), ticket, now) {
            Asked::Now(Answer::Failed(code)) => Err(Deny::failed(code)),
            Asked::Dead(_) => Err(Deny::new(ErrorCode::NotAvailable, "the node's channel to itself is gone")),
            Asked::Now(_) | Asked::Later => Ok(()),
        }
    }
}

impl Turn {
    /// Listens to the node itself under a slot that has no connection: what the hub has for it goes to the carrier.
    pub fn listen_to_self(&mut self, slot: u32, loopback: &Loopback, now: Now) {
        let at = slot as usize;
        if self.conns.len() <= at {
            self.conns.resize_with(at + 1, || None);
            self.generations.resize(at + 1, 0);
        }
        let cell = &loopback.0;
        self.hub.open(slot, Form::Json);
        let key = self.hub.make_room(cell.clone());
        if cell.enter_interest(self.shard, key, now) == Some(true) {
            self.node.broker.attach(cell, now);
        }
        let located = cell.locate(&Wanted::default(), now);
        self.hub.enter(slot, key, Listening::default(), &located);
    }
}
