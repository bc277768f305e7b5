//! Who is in a channel, on this node. Promise 6, presence converges.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use everwire_proto::ids::ClientId;
use everwire_proto::payload::Payload;
use everwire_proto::reply::PresenceSummary;

use crate::entry::MemberCard;
use crate::hashes::NamedMap;
use crate::plant::{Bug, planted};

#[derive(Debug)]
struct Member {
    card: MemberCard,
    /// The connection that holds the membership: unique in the node's life. A leave that was due for an older one
    /// finds another number here and does nothing.
    holder: u64,
}

/// The members of a channel.
#[derive(Debug, Default)]
pub(super) struct Presence {
    members: BTreeMap<ClientId, Member>,
    users: NamedMap<Arc<str>, u64>,
    anonymous: u64,
    version: u64,
    /// There are so many that only their number is told.
    pub(super) counts: bool,
}

/// What an entering member found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It is new: the others are told.
    Joined,
    /// It was there all the time, on a connection that ended: nobody is told.
    Returned,
}

/// The numbers of a channel that nobody was ever in.
pub(super) const NOBODY: PresenceSummary = PresenceSummary { users: 0, clients: 0, version: 0 };

/// A page of members, copied out of the cell.
#[derive(Clone, Debug)]
pub struct PresenceView {
    /// Numbers of the whole channel.
    pub summary: PresenceSummary,
    /// This page, by ascending client id.
    pub members: Vec<MemberCard>,
    /// The last client of this page where there are more.
    pub next: Option<ClientId>,
}

impl Default for PresenceView {
    fn default() -> Self {
        Self { summary: NOBODY, members: Vec::new(), next: None }
    }
}

impl Presence {
    pub(super) fn summary(&self) -> PresenceSummary {
        PresenceSummary {
            users: self.users.len() as u64 + self.anonymous,
            clients: self.members.len() as u64,
            version: self.version,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(super) fn enter(&mut self, card: MemberCard, holder: u64) -> Entered {
        if let Some(member) = self.members.get_mut(&card.client) {
            // The later connection has it, whichever says so first: one that was resumed away may still subscribe
            // before it hears of that, and its end must take nobody out.
            member.holder = if planted(Bug::OlderHolder) { holder } else { member.holder.max(holder) };
            return Entered::Returned;
        }
        match &card.user {
            Some(user) => *self.users.entry(user.clone()).or_default() += 1,
            None => self.anonymous += 1,
        }
        self.members.insert(card.client, Member { card, holder });
        self.version += 1;
        Entered::Joined
    }

    /// Takes out the member if `holder` still holds it.
    pub(super) fn leave(&mut self, client: ClientId, holder: u64) -> Option<MemberCard> {
        if self.members.get(&client)?.holder != holder {
            return None;
        }
        let card = self.members.remove(&client)?.card;
        match &card.user {
            None => self.anonymous -= 1,
            Some(user) => {
                if let Some(count) = self.users.get_mut(user) {
                    *count -= 1;
                    if *count == 0 {
                        self.users.remove(user);
                    }
                }
            }
        }
        self.version += u64::from(!planted(Bug::VersionStays));
        Some(card)
    }

    /// Sets a member's state; `None` where it is no member.
    pub(super) fn set_state(&mut self, client: ClientId, state: Option<Arc<Payload>>) -> Option<MemberCard> {
        let member = self.members.get_mut(&client)?;
        member.card.state = state;
        self.version += 1;
        Some(member.card.clone())
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    pub(super) fn view(&self, limit: usize, after: Option<ClientId>) -> PresenceView {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut page = self.members.range((from, Bound::Unbounded));
        let members: Vec<_> = page.by_ref().take(limit).map(|(_, m)| m.card.clone()).collect();
        let next = page.next().and(members.last()).map(|card| card.client);
        PresenceView { summary: self.summary(), members, next }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn card(client: u8, user: Option<&str>) -> MemberCard {
        MemberCard { client: ClientId([client; 12]), user: user.map(Into::into), info: None, state: None }
    }

    #[test]
    fn users_are_counted_once_and_the_anonymous_each() {
        let mut presence = Presence::default();
        for (client, user) in [(1, Some("ann")), (2, Some("ann")), (3, None), (4, None)] {
            assert_eq!(presence.enter(card(client, user), 7), Entered::Joined);
        }
        assert_eq!(presence.summary(), PresenceSummary { users: 3, clients: 4, version: 4 });
        assert_eq!(presence.enter(card(1, Some("ann")), 8), Entered::Returned);
        assert_eq!(presence.version(), 4);
        assert_eq!(presence.enter(card(1, Some("ann")), 7), Entered::Returned);
        assert!(presence.leave(ClientId([1; 12]), 7).is_none(), "another connection holds it now");
        assert!(presence.leave(ClientId([1; 12]), 8).is_some());
        assert!(presence.leave(ClientId([3; 12]), 7).is_some());
        assert_eq!(presence.summary(), PresenceSummary { users: 2, clients: 2, version: 6 });
    }

    #[test]
    fn pages_follow_each_other() {
        let mut presence = Presence::default();
        for client in 0..5 {
            presence.enter(card(client, None), 1);
        }
        let (mut after, mut seen) = (None, vec![]);
        loop {
            let page = presence.view(2, after);
            seen.extend(page.members.iter().map(|m| m.client.0[0]));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, [0, 1, 2, 3, 4]);
    }
}
