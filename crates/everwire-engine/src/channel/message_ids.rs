//! Which message ids a channel has seen: promise 4, no double publish.

use std::collections::VecDeque;
use std::sync::Arc;

use everwire_proto::ids::ClientId;
use everwire_proto::position::Position;

use crate::hashes::NamedMap;

/// Whose message ids they are: ids of different publishers never meet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Publisher {
    /// The application's backend, by the HTTP API.
    Backend,
    /// A user, on whatever connection.
    User(Arc<str>),
    /// An anonymous session.
    Client(ClientId),
}

type Key = Arc<(Publisher, Box<str>)>;

/// The newest ids of a channel, bounded by count and age.
#[derive(Debug, Default)]
pub(super) struct MessageIds {
    seen: NamedMap<Key, Option<Position>>,
    order: VecDeque<(u64, Key)>,
}

impl MessageIds {
    /// How many are remembered.
    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// The position that this id was stored at (`Some(None)` where nothing is stored), if it was seen.
    pub(super) fn find(
        &mut self,
        who: &Publisher,
        id: &str,
        now_ms: u64,
        keep_ms: u64,
    ) -> Option<Option<Position>> {
        self.forget(now_ms, keep_ms, usize::MAX);
        self.seen.get(&(who.clone(), Box::from(id))).cloned()
    }

    /// Remembers an id, forgetting the oldest beyond `keep`.
    pub(super) fn remember(
        &mut self,
        who: Publisher,
        id: &str,
        at: Option<Position>,
        now_ms: u64,
        keep: usize,
    ) {
        let key: Key = Arc::new((who, id.into()));
        self.seen.insert(key.clone(), at);
        self.order.push_back((now_ms, key));
        self.forget(now_ms, u64::MAX, keep);
    }

    /// Forgets what is too old. Whether nothing is left.
    pub(super) fn forget_old(&mut self, now_ms: u64, keep_ms: u64) -> bool {
        self.forget(now_ms, keep_ms, usize::MAX);
        self.order.is_empty()
    }

    fn forget(&mut self, now_ms: u64, keep_ms: u64, keep: usize) {
        while let Some((at, _)) = self.order.front() {
            if self.order.len() <= keep && now_ms.saturating_sub(*at) <= keep_ms {
                return;
            }
            if let Some((_, key)) = self.order.pop_front() {
                self.seen.remove(&*key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_per_publisher_and_bounded() {
        let mut ids = MessageIds::default();
        let ann = Publisher::User("ann".into());
        ids.remember(ann.clone(), "1", None, 0, 2);
        assert_eq!(ids.find(&ann, "1", 1, 10), Some(None));
        assert_eq!(ids.find(&Publisher::Backend, "1", 1, 10), None);
        assert_eq!(ids.find(&ann, "1", 11, 10), None, "too old");
        for i in 0..3 {
            ids.remember(ann.clone(), &i.to_string(), None, 20, 2);
        }
        assert_eq!(ids.find(&ann, "0", 20, 10), None, "the oldest of three went");
        assert_eq!(ids.find(&ann, "2", 20, 10), Some(None));
        assert_eq!((ids.seen.len(), ids.order.len()), (2, 2));
    }
}
