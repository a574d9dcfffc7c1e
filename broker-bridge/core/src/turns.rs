//! Whose records are applied next: nodes take turns, and each goes on from its own oldest record.
//! Never reorders what one node sent, and never lets a node with much hold up one with little.

use std::collections::{BTreeMap, VecDeque};

/// Bytes that a node's turn gives it; what it does not need is not kept for its next turn.
const TURN_BYTES: usize = 16 * 1024;

/// More waits than may; the item is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{bytes} bytes wait already: at most {max} may")]
pub struct Full {
    /// Bytes that wait.
    pub bytes: usize,
    /// Bytes that may wait.
    pub max: usize,
}

/// What waits of many nodes, by turns. `K` names a node.
#[derive(Debug)]
pub struct Turns<K, T> {
    lanes: BTreeMap<K, VecDeque<(usize, T)>>,
    /// Every node of `lanes` once; the first has the next turn.
    order: VecDeque<K>,
    bytes: usize,
    /// Bytes taken by [`Self::take`] that [`Self::done`] has not given back.
    taken: usize,
    bytes_max: usize,
}

impl<K: Ord + Copy, T> Turns<K, T> {
    /// Nothing waits; up to `bytes_max` may, what was taken and is not done included.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self {
            lanes: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            taken: 0,
            bytes_max,
        }
    }

    /// Adds an item of so many bytes behind what waits of this node.
    ///
    /// # Errors
    /// [`Full`].
    pub fn push(&mut self, node: K, bytes: usize, item: T) -> Result<(), Full> {
        let held = self.bytes + self.taken;
        if held + bytes > self.bytes_max {
            return Err(Full {
                bytes: held,
                max: self.bytes_max,
            });
        }
        self.bytes += bytes;
        let lane = self.lanes.entry(node).or_default();
        if lane.is_empty() {
            self.order.push_back(node);
        }
        lane.push_back((bytes, item));
        Ok(())
    }

    /// Takes up to `items_max` items of together about `bytes_max`, in turns. Each node that waits
    /// at the front gets one item at least, whatever its size.
    pub fn take(&mut self, items_max: usize, bytes_max: usize) -> Vec<T> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while items.len() < items_max && bytes < bytes_max {
            let Some(node) = self.order.pop_front() else {
                break;
            };
            let Some(lane) = self.lanes.get_mut(&node) else {
                continue;
            };
            let mut turn = 0;
            while turn < TURN_BYTES
                && items.len() < items_max
                && let Some((size, item)) = lane.pop_front()
            {
                turn += size;
                items.push(item);
            }
            bytes += turn;
            if lane.is_empty() {
                self.lanes.remove(&node);
            } else {
                self.order.push_back(node);
            }
        }
        self.bytes -= bytes;
        self.taken += bytes;
        items
    }

    /// Gives back the room of everything that was taken.
    pub fn done(&mut self) {
        self.taken = 0;
    }

    /// Bytes held, what was taken and is not done included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes + self.taken
    }

    /// How many unanswered publishes one node may have, of `full` with an empty queue: fewer the
    /// more waits, and always one, so that a fleet that drains at once is slowed and not cut off.
    #[must_use]
    pub fn window(&self, full: usize) -> usize {
        let held = self.bytes();
        let half = self.bytes_max / 2;
        if held <= half {
            return full.max(1);
        }
        let free = self.bytes_max.saturating_sub(held);
        (full.saturating_mul(free) / half.max(1)).clamp(1, full.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_node_with_one_record_waits_for_one_turn_of_a_node_with_many() {
        let mut turns = Turns::new(usize::MAX);
        for at in 0..1000 {
            turns.push("much", 1024, ("much", at)).unwrap();
        }
        turns.push("little", 100, ("little", 0)).unwrap();
        let group = turns.take(64, usize::MAX);
        let at = group.iter().position(|(node, _)| *node == "little");
        assert_eq!(at, Some(TURN_BYTES / 1024));
    }

    #[test]
    fn what_waits_and_what_is_under_way_share_one_bound() {
        let mut turns = Turns::new(100);
        turns.push(1, 60, ()).unwrap();
        assert_eq!(turns.take(1, 100).len(), 1);
        turns.push(1, 40, ()).unwrap();
        let full = Full {
            bytes: 100,
            max: 100,
        };
        assert_eq!(turns.push(2, 1, ()), Err(full));
        turns.done();
        turns.push(2, 60, ()).unwrap();
    }

    #[test]
    fn a_record_larger_than_a_turn_is_taken_all_the_same() {
        let mut turns = Turns::new(usize::MAX);
        turns.push(1, TURN_BYTES * 4, ()).unwrap();
        assert_eq!(turns.take(10, 1).len(), 1);
    }

    #[test]
    fn the_window_closes_as_the_queue_fills_and_never_wholly() {
        let mut turns = Turns::new(1000);
        let mut windows = vec![turns.window(100)];
        for _ in 0..10 {
            turns.push(1, 100, ()).unwrap();
            windows.push(turns.window(100));
        }
        assert_eq!(windows, [100, 100, 100, 100, 100, 100, 80, 60, 40, 20, 1]);
    }

    proptest! {
        #[test]
        fn every_record_comes_out_once_in_its_nodes_order(
            sent in prop::collection::vec((0_u8..5, 0_usize..40_000), 0..200),
            groups in prop::collection::vec((1_usize..20, 1_usize..100_000), 1..300),
        ) {
            let mut turns = Turns::new(usize::MAX);
            for (at, (node, bytes)) in sent.iter().enumerate() {
                turns.push(*node, *bytes, (*node, at)).unwrap();
            }
            let mut out = Vec::new();
            for (items, bytes) in groups {
                let taken = turns.take(items, bytes);
                prop_assert!(taken.len() <= items);
                out.extend(taken);
                turns.done();
            }
            while out.len() < sent.len() {
                out.extend(turns.take(1000, usize::MAX));
            }
            for node in 0..5 {
                let of = |all: &[(u8, usize)]| -> Vec<usize> {
                    all.iter().filter(|(of, _)| *of == node).map(|(_, at)| *at).collect()
                };
                let mut sorted = of(&out);
                sorted.sort_unstable();
                prop_assert_eq!(of(&out), sorted);
            }
            turns.done();
            prop_assert_eq!(turns.bytes(), 0);
        }
    }
}
