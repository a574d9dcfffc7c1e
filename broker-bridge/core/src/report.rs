//! What a report makes of the bases at hand. The bridge keeps two of each type, so that a delta
//! still finds its base when the acknowledgement of the one after it was lost.
//! Never stores a table, never knows what a column means.

use holdfast_protocol::report::{Content, Report, Table, TableHash, TypeName};

/// Bases kept of each type.
pub const BASES_MAX: usize = 2;

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// This is the newest state; the newest base before becomes the second.
    Replace(Table),
    /// The newest base still holds, and was gathered again.
    Unchanged,
    /// No base at hand fits: the whole is wanted.
    Resync,
}

/// Applies a report to the bases of its type, newest first.
#[must_use]
pub fn apply(bases: &[Table], report: Report) -> Applied {
    match report.content {
        Content::Whole(table) if bases.first() == Some(&table) => Applied::Unchanged,
        Content::Whole(table) => Applied::Replace(table),
        Content::Unchanged(hash) => match bases.iter().position(|base| base.hash() == hash) {
            Some(0) => Applied::Unchanged,
            Some(at) => bases
                .get(at)
                .map_or(Applied::Resync, |base| Applied::Replace(base.clone())),
            None => Applied::Resync,
        },
        Content::Delta(delta) => bases
            .iter()
            .find(|base| base.hash() == delta.base)
            .and_then(|base| base.apply(&delta).ok())
            .map_or(Applied::Resync, Applied::Replace),
    }
}

/// Types of which the node will send deltas that fit no base here. `held`: type and hash of every
/// base here. `claimed`: the base of each type that the node stands on.
#[must_use]
pub fn wanted(held: &[(TypeName, TableHash)], claimed: &[(TypeName, TableHash)]) -> Vec<TypeName> {
    let missing = claimed.iter().filter(|base| !held.contains(base));
    missing.map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use holdfast_protocol::report::{Cell, Row};
    use holdfast_protocol::up::Stamp;
    use proptest::prelude::*;

    fn table(names: &[u8]) -> Table {
        let mut names = names.to_vec();
        names.sort_unstable();
        names.dedup();
        let row = |name: &u8| Row::new(vec![Cell::new(name.to_string()).unwrap()]).unwrap();
        Table::new(1, &["Name"], names.iter().map(row).collect()).unwrap()
    }

    fn report(content: Content) -> Report {
        Report {
            type_name: "AWS:Application".try_into().unwrap(),
            captured: Stamp {
                boot: 1,
                uptime_ms: 1,
                unix_ms: None,
            },
            content,
        }
    }

    #[test]
    fn a_delta_finds_the_base_before_the_newest() {
        let (old, newest, next) = (table(&[1]), table(&[1, 2]), table(&[1, 3]));
        let delta = Content::Delta(next.delta_from(&old).unwrap());
        let bases = [newest, old];
        assert_eq!(apply(&bases, report(delta.clone())), Applied::Replace(next));
        assert_eq!(apply(&bases[..1], report(delta)), Applied::Resync);
    }

    #[test]
    fn unchanged_stands_on_a_base_at_hand_or_asks_for_the_whole() {
        let bases = [table(&[1, 2]), table(&[1])];
        let unchanged = |table: &Table| report(Content::Unchanged(table.hash()));
        assert_eq!(apply(&bases, unchanged(&bases[0])), Applied::Unchanged);
        assert_eq!(
            apply(&bases, unchanged(&bases[1])),
            Applied::Replace(table(&[1]))
        );
        assert_eq!(apply(&bases, unchanged(&table(&[9]))), Applied::Resync);
    }

    #[test]
    fn only_bases_that_are_not_here_are_wanted() {
        let name = |name: &str| TypeName::try_from(name).unwrap();
        let held = [
            (name("a"), [1; 8]),
            (name("a"), [2; 8]),
            (name("b"), [3; 8]),
        ];
        let claimed = [
            (name("a"), [1; 8]),
            (name("b"), [4; 8]),
            (name("c"), [1; 8]),
        ];
        assert_eq!(wanted(&held, &claimed), [name("b"), name("c")]);
    }

    proptest! {
        /// A node that sends deltas, loses acknowledgements and is asked for the whole again ends
        /// with the bridge holding its newest state.
        #[test]
        fn the_bridge_ends_with_the_nodes_newest_state(
            states in proptest::collection::vec((proptest::collection::vec(0_u8..9, 0..6), any::<bool>()), 1..20),
        ) {
            let mut bases: Vec<Table> = Vec::new();
            let mut acked: Option<Table> = None;
            for (rows, acknowledged) in states {
                let state = table(&rows);
                let content = match &acked {
                    Some(base) => Content::Delta(state.delta_from(base).unwrap()),
                    None => Content::Whole(state.clone()),
                };
                let mut applied = apply(&bases, report(content));
                if applied == Applied::Resync {
                    applied = apply(&bases, report(Content::Whole(state.clone())));
                }
                if let Applied::Replace(table) = applied {
                    bases.insert(0, table);
                    bases.truncate(BASES_MAX);
                }
                prop_assert_eq!(bases.first(), Some(&state));
                if acknowledged {
                    acked = Some(state);
                }
            }
        }
    }
}
