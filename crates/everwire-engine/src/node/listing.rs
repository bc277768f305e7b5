//! Which channels a node knows.

use std::sync::Arc;

use super::{Node, STRIPES, lock};
use crate::channel::Cell;

/// So many names are looked at for one page; what is left is for the next one.
const LOOKED_AT: usize = 100_000;

/// Where a list of channels goes on: a stripe of the table, and the last name of it that was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelCursor {
    stripe: usize,
    name: Box<str>,
}

impl std::fmt::Display for ChannelCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.stripe, self.name)
    }
}

impl ChannelCursor {
    /// Reads what `Display` wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (stripe, name) = text.split_once('-')?;
        let stripe = stripe.parse().ok().filter(|stripe| *stripe < STRIPES)?;
        Some(Self { stripe, name: name.into() })
    }
}

impl Node {
    /// Channels that this node knows, at most `most`: those that `wanted` takes, from a cursor on, and where it goes on.
    /// A page that has fewer may have a next one: how many names are looked at is bounded too.
    pub fn channels(
        &self,
        from: &ChannelCursor,
        most: usize,
        wanted: impl Fn(&str) -> bool,
    ) -> (Vec<Arc<Cell>>, Option<ChannelCursor>) {
        let (mut page, mut looked_at) = (Vec::new(), 0);
        let mut after = &*from.name;
        for stripe in from.stripe..STRIPES {
            if looked_at >= LOOKED_AT {
                return (page, Some(ChannelCursor { stripe, name: Box::default() }));
            }
            let mut found = self.of_stripe(stripe, after, &wanted, &mut looked_at);
            after = "";
            found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            let room = most - page.len();
            if found.len() > room {
                found.truncate(room);
                // Of this stripe alone: what was seen last in another one says nothing here.
                let name = found.last().map_or("", |cell| cell.name.as_str()).into();
                page.append(&mut found);
                return (page, Some(ChannelCursor { stripe, name }));
            }
            page.append(&mut found);
        }
        (page, None)
    }

    fn of_stripe(
        &self,
        stripe: usize,
        after: &str,
        wanted: impl Fn(&str) -> bool,
        looked_at: &mut usize,
    ) -> Vec<Arc<Cell>> {
        let stripe = lock(&self.stripes[stripe]);
        *looked_at += stripe.cells.len();
        let there = stripe.cells.iter().filter(|(name, cell)| {
            let name = name.as_str();
            (after.is_empty() || name > after) && wanted(name) && !cell.is_dead()
        });
        there.map(|(_, cell)| cell.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_round_trip() {
        for text in ["0-", "63-chat:a-b", "7-ünï"] {
            assert_eq!(ChannelCursor::parse(text).map(|cursor| cursor.to_string()), Some(text.to_owned()));
        }
        for bad in ["", "x", "64-", "-1-a", "1", "+-"] {
            assert_eq!(ChannelCursor::parse(bad), None, "{bad}");
        }
    }
}
