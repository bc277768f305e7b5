//! What the simulator may see of a turn: the server's own view, to hold the clients' against.

use everwire_proto::ids::ClientId;

use super::Turn;
use crate::name::ChannelName;
use crate::session::Phase;

impl Turn {
    /// The client of a slot, while it is connected and has not ended.
    pub(crate) fn client_at(&self, slot: u32) -> Option<ClientId> {
        let conn = self.conns.get(slot as usize)?.as_ref()?;
        (!conn.ended && conn.session.phase == Phase::Connected).then_some(conn.session.client)
    }

    /// Whether the connection of a slot has left its channels and its seat.
    pub(crate) fn has_ended(&self, slot: u32) -> bool {
        self.conns.get(slot as usize).and_then(|c| c.as_ref()).is_none_or(|c| c.ended)
    }

    /// The channels of a slot.
    pub(crate) fn channels_at(&mut self, slot: u32) -> Vec<ChannelName> {
        let keys = self.hub.subscriptions(slot);
        keys.into_iter().filter_map(|key| Some(self.hub.cell(key)?.name.clone())).collect()
    }

    /// The channels that a slot has asked for and that are not answered yet.
    pub(crate) fn joining_at(&mut self, slot: u32) -> Vec<ChannelName> {
        let waiting = self.joining.iter().filter(|(_, list)| list.iter().any(|j| j.slot == slot));
        let keys: Vec<_> = waiting.map(|(key, _)| *key).collect();
        keys.into_iter().filter_map(|key| Some(self.hub.cell(key)?.name.clone())).collect()
    }

    /// Subscriptions and bytes in outboxes, counted one by one.
    pub(crate) fn found(&self) -> (u64, u64) {
        let all = || 0..u32::try_from(self.conns.len()).unwrap_or(u32::MAX);
        let subscriptions = all().map(|slot| self.hub.subscription_count(slot)).sum::<usize>();
        (subscriptions as u64, all().map(|slot| self.hub.waiting_bytes(slot)).sum::<usize>() as u64)
    }

    /// Bytes that wait in a slot's outbox.
    pub(crate) fn waiting_at(&self, slot: u32) -> usize {
        self.hub.waiting_bytes(slot)
    }
}
