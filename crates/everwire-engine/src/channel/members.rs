//! Members of a cell: they enter and leave, and whoever watches is told, one by one or only how many they are.

use std::sync::Arc;

use everwire_proto::ids::ClientId;
use everwire_proto::payload::Payload;
use everwire_proto::reply::{MemberEvent, PresenceSummary};

use super::cell::{Cell, State};
use super::presence::{Entered, NOBODY, PresenceView};
use crate::entry::{MemberCard, MemberNote};
use crate::inbox::{Item, Pushed};
use crate::plant::{Bug, planted};

/// How watchers hear of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Telling {
    /// Who, each time.
    Members,
    /// How many, once a second.
    Counts,
    /// From now on who: they have not heard of what was before.
    MembersAgain,
}

impl Cell {
    /// Counts a shard's listeners that want presence events, up or down.
    pub fn watch(&self, shard: u16, up: bool) {
        let mut state = self.lock();
        if let Some(interest) = state.interest.iter_mut().find(|i| i.shard == shard) {
            interest.watchers = if up { interest.watchers + 1 } else { interest.watchers.saturating_sub(1) };
        }
    }

    /// A shard answers its `Unheard` mark; the version of the presence that its listeners must ask for anew.
    pub fn told_unheard(&self, shard: u16) -> u64 {
        let mut state = self.lock();
        if let Some(interest) = state.interest.iter_mut().find(|i| i.shard == shard) {
            interest.unheard = false;
        }
        state.presence.as_ref().map_or(0, |p| p.version())
    }

    /// A shard answers its `Counted` mark: the numbers now. `None`: members are told one by one again.
    pub fn told_counted(&self, shard: u16) -> Option<PresenceSummary> {
        let mut state = self.lock();
        if let Some(interest) = state.interest.iter_mut().find(|i| i.shard == shard) {
            interest.counted = false;
        }
        state.presence.as_ref().filter(|presence| presence.counts).map(|presence| presence.summary())
    }

    /// A member enters, held by the connection `holder`; where presence is off nobody does, and nobody is told.
    pub fn enter(&self, card: MemberCard, holder: u64) -> Entered {
        let mut state = self.lock();
        if !state.options.presence {
            // Switched off since its shard looked: nobody would take the member out.
            return Entered::Returned;
        }
        let presence = state.presence.get_or_insert_default();
        let entered = presence.enter(card.clone(), holder);
        if entered == Entered::Joined {
            self.note(&mut state, MemberEvent::Join, card);
        }
        entered
    }

    /// A member leaves, unless another connection holds it by now. Whether it left.
    pub fn leave(&self, client: ClientId, holder: u64) -> bool {
        let mut state = self.lock();
        let left = state.presence.as_mut().and_then(|p| p.leave(client, holder));
        let gone = left.is_some();
        if let Some(card) = left {
            self.note(&mut state, MemberEvent::Leave, card);
        }
        gone
    }

    /// Sets a member's own state. Whether it is a member.
    pub fn set_member_state(&self, client: ClientId, payload: Option<Arc<Payload>>) -> bool {
        let mut state = self.lock();
        let set = state.presence.as_mut().and_then(|p| p.set_state(client, payload));
        let known = set.is_some();
        if let Some(card) = set {
            self.note(&mut state, MemberEvent::State, card);
        }
        known
    }

    fn note(&self, state: &mut State, event: MemberEvent, card: MemberCard) {
        if state.interest.iter().all(|i| i.watchers == 0) {
            return;
        }
        match Self::telling(state) {
            Telling::Members => self.tell_member(state, event, card),
            Telling::Counts => {
                for interest in state.interest.iter_mut().filter(|i| i.watchers > 0 && !i.counted) {
                    interest.counted = true;
                    self.shared.inboxes[usize::from(interest.shard)].push(Item::Counted(interest.key));
                }
            }
            Telling::MembersAgain => {
                for interest in state.interest.iter_mut().filter(|i| i.watchers > 0 && !i.unheard) {
                    interest.unheard = true;
                    self.shared.inboxes[usize::from(interest.shard)].push(Item::Unheard(interest.key));
                }
            }
        }
    }

    /// Above a number of members only their count is told; it must fall a good way below before names are told again, so
    /// that one who comes and goes does not have everybody ask for everybody each time.
    fn telling(state: &mut State) -> Telling {
        let most = u64::from(state.options.presence_members);
        let Some(presence) = &mut state.presence else { return Telling::Members };
        let members = presence.summary().clients;
        if members > most {
            presence.counts = true;
        } else if presence.counts && members <= most - most / 4 {
            presence.counts = false;
            return Telling::MembersAgain;
        }
        if presence.counts { Telling::Counts } else { Telling::Members }
    }

    fn tell_member(&self, state: &mut State, event: MemberEvent, card: MemberCard) {
        let version = state.presence.as_ref().map_or(0, |p| p.version());
        let note = Arc::new(MemberNote::new(self.name.clone(), event, version, card));
        for interest in state.interest.iter_mut().filter(|i| i.watchers > 0 && !i.unheard) {
            let inbox = &self.shared.inboxes[usize::from(interest.shard)];
            if inbox.push_within(Item::Member(interest.key, note.clone())) == Pushed::Full {
                interest.unheard = true;
                if planted(Bug::UnheardForgotten) {
                    continue;
                }
                inbox.push(Item::Unheard(interest.key));
            }
        }
    }

    /// Numbers of its presence.
    pub fn presence_summary(&self) -> PresenceSummary {
        let state = self.lock();
        state.presence.as_ref().map_or(NOBODY, |p| p.summary())
    }

    /// A page of its members.
    pub fn presence(&self, limit: usize, after: Option<ClientId>) -> PresenceView {
        let state = self.lock();
        state.presence.as_ref().map_or_else(PresenceView::default, |p| p.view(limit, after))
    }
}
