//! Which nodes a command is for: ids, or targets by id and tag.
//! Never looks a node up: facts about nodes come in.

use holdfast_protocol::NodeId;
use std::collections::BTreeSet;

/// Node ids that `InstanceIds` may list.
pub const INSTANCE_IDS_MAX: usize = 50;
/// Targets of a command.
pub const TARGETS_MAX: usize = 5;
/// Values of one target.
pub const TARGET_VALUES_MAX: usize = 50;
/// Nodes that one command may be sent to.
pub const NODES_MAX: usize = 50_000;

/// What a target compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetKey {
    /// `InstanceIds`: the node's id.
    InstanceIds,
    /// `tag:NAME`: the value of that tag.
    Tag(String),
    /// `tag-key`: the name of any tag.
    TagKey,
}

/// One target: the node has any of these values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    key: TargetKey,
    values: BTreeSet<String>,
}

/// Whom a command is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These nodes, each of which must exist.
    Nodes(BTreeSet<NodeId>),
    /// Every node that all of these targets name.
    Targets(Vec<Target>),
}

/// The request names no nodes that a command could be for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// Neither ids nor targets.
    #[error("no target: give InstanceIds or Targets")]
    Missing,
    /// Both ids and targets.
    #[error("InstanceIds and Targets exclude each other: give one of them")]
    Both,
    /// Too many of something.
    #[error("{found} {what}, at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// A key without a meaning here.
    #[error("target key `{key}` is not supported: use InstanceIds, tag-key or tag:NAME")]
    Key {
        /// The key, cut to 64 characters.
        key: String,
    },
    /// A target without a value.
    #[error("target `{key}` has no values")]
    NoValues {
        /// The key.
        key: String,
    },
    /// Not the id of a managed node.
    #[error(
        "`{id}` is not the id of a managed node: expected `mi-` and 17 lower-case hexadecimal digits"
    )]
    InvalidNode {
        /// The id, cut to 64 characters.
        id: String,
    },
    /// Nodes that were named but are not registered.
    #[error("not registered here: {}", nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(", "))]
    Unknown {
        /// The nodes.
        nodes: Vec<NodeId>,
    },
}

fn excerpt(text: &str) -> String {
    text.chars().take(64).collect()
}

fn bounded(what: &'static str, found: usize, max: usize) -> Result<(), TargetError> {
    if found > max {
        return Err(TargetError::TooMany { what, found, max });
    }
    Ok(())
}

fn node(id: &str) -> Result<NodeId, TargetError> {
    id.parse()
        .map_err(|_| TargetError::InvalidNode { id: excerpt(id) })
}

impl Target {
    /// Reads one target of a request.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn new(key: &str, values: &[String]) -> Result<Self, TargetError> {
        bounded("values of a target", values.len(), TARGET_VALUES_MAX)?;
        let parsed = match key.strip_prefix("tag:") {
            Some(name) if !name.is_empty() => TargetKey::Tag(name.to_owned()),
            _ if key == "tag-key" => TargetKey::TagKey,
            _ if key.eq_ignore_ascii_case("InstanceIds") => TargetKey::InstanceIds,
            _ => return Err(TargetError::Key { key: excerpt(key) }),
        };
        if values.is_empty() {
            return Err(TargetError::NoValues {
                key: key.to_owned(),
            });
        }
        if parsed == TargetKey::InstanceIds {
            values.iter().try_for_each(|id| node(id).map(|_| ()))?;
        }
        Ok(Self {
            key: parsed,
            values: values.iter().cloned().collect(),
        })
    }

    /// Whether this target names the node.
    #[must_use]
    pub fn names(&self, facts: &NodeFacts) -> bool {
        match &self.key {
            TargetKey::InstanceIds => self.values.contains(facts.node.as_str()),
            TargetKey::Tag(name) => facts
                .tags
                .iter()
                .any(|(key, value)| key == name && self.values.contains(value)),
            TargetKey::TagKey => facts.tags.iter().any(|(key, _)| self.values.contains(key)),
        }
    }
}

/// What targets compare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// The node.
    pub node: NodeId,
    /// Its tags, name and value.
    pub tags: Vec<(String, String)>,
}

impl Selection {
    /// Reads `InstanceIds` and `Targets` (key and values) of a request.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn new(
        instance_ids: &[String],
        targets: &[(String, Vec<String>)],
    ) -> Result<Self, TargetError> {
        match (instance_ids.is_empty(), targets.is_empty()) {
            (true, true) => Err(TargetError::Missing),
            (false, false) => Err(TargetError::Both),
            (false, true) => {
                bounded("instance ids", instance_ids.len(), INSTANCE_IDS_MAX)?;
                let nodes = instance_ids.iter().map(|id| node(id));
                Ok(Self::Nodes(nodes.collect::<Result<_, _>>()?))
            }
            (true, false) => {
                bounded("targets", targets.len(), TARGETS_MAX)?;
                let targets = targets.iter().map(|(key, values)| Target::new(key, values));
                Ok(Self::Targets(targets.collect::<Result<_, _>>()?))
            }
        }
    }

    /// The nodes meant, in the order of their ids. No node at all is an answer, not an error,
    /// where targets were given.
    ///
    /// # Errors
    /// [`TargetError::Unknown`] for ids that `fleet` does not know, [`TargetError::TooMany`] over
    /// [`NODES_MAX`].
    pub fn resolve(
        &self,
        fleet: impl IntoIterator<Item = NodeFacts>,
    ) -> Result<Vec<NodeId>, TargetError> {
        let meant = fleet.into_iter().filter(|facts| match self {
            Self::Nodes(nodes) => nodes.contains(&facts.node),
            Self::Targets(targets) => targets.iter().all(|target| target.names(facts)),
        });
        let found: BTreeSet<NodeId> = meant.map(|facts| facts.node).collect();
        if let Self::Nodes(nodes) = self {
            let nodes: Vec<_> = nodes.difference(&found).copied().collect();
            if !nodes.is_empty() {
                return Err(TargetError::Unknown { nodes });
            }
        }
        bounded("nodes", found.len(), NODES_MAX)?;
        Ok(found.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u8) -> NodeId {
        NodeId::from_random([n; 9])
    }

    fn fleet() -> Vec<NodeFacts> {
        let facts = |n, tags: &[(&str, &str)]| NodeFacts {
            node: id(n),
            tags: tags
                .iter()
                .map(|(k, v)| ((*k).into(), (*v).into()))
                .collect(),
        };
        vec![
            facts(1, &[("env", "prod"), ("role", "web")]),
            facts(2, &[("env", "prod"), ("role", "db")]),
            facts(3, &[("env", "test")]),
            facts(4, &[]),
        ]
    }

    fn target(key: &str, values: &[&str]) -> (String, Vec<String>) {
        (key.into(), values.iter().map(|v| (*v).into()).collect())
    }

    fn resolve(targets: &[(String, Vec<String>)]) -> Vec<NodeId> {
        Selection::new(&[], targets)
            .unwrap()
            .resolve(fleet())
            .unwrap()
    }

    #[test]
    fn values_are_alternatives_and_targets_must_all_hold() {
        assert_eq!(
            resolve(&[target("tag:env", &["prod", "test"])]),
            [id(1), id(2), id(3)]
        );
        assert_eq!(
            resolve(&[
                target("tag:env", &["prod"]),
                target("tag:role", &["db", "x"])
            ]),
            [id(2)]
        );
        assert_eq!(resolve(&[target("tag-key", &["role"])]), [id(1), id(2)]);
        let (third, fourth) = (id(3).to_string(), id(4).to_string());
        assert_eq!(
            resolve(&[
                target("InstanceIds", &[&third, &fourth]),
                target("tag-key", &["env"])
            ]),
            [id(3)]
        );
        assert_eq!(resolve(&[target("tag:env", &["nowhere"])]), []);
    }

    #[test]
    fn ids_that_are_not_registered_are_named() {
        let selection = Selection::new(&[id(1).to_string(), id(9).to_string()], &[]).unwrap();
        assert_eq!(
            selection.resolve(fleet()),
            Err(TargetError::Unknown { nodes: vec![id(9)] })
        );
    }

    #[test]
    fn bounds_and_unknown_keys_are_refused() {
        let ids: Vec<_> = (0..51).map(|n| id(n).to_string()).collect();
        assert!(matches!(
            Selection::new(&ids, &[]),
            Err(TargetError::TooMany {
                found: 51,
                max: 50,
                ..
            })
        ));
        let six: Vec<_> = (0..6)
            .map(|n| target(&format!("tag:{n}"), &["v"]))
            .collect();
        assert!(matches!(
            Selection::new(&[], &six),
            Err(TargetError::TooMany { .. })
        ));
        for key in ["resource-groups:Name", "tag:", "Tag:x", ""] {
            assert!(
                matches!(
                    Selection::new(&[], &[target(key, &["v"])]),
                    Err(TargetError::Key { .. })
                ),
                "{key}"
            );
        }
        assert_eq!(Selection::new(&[], &[]), Err(TargetError::Missing));
        assert_eq!(Selection::new(&ids[..1], &six[..1]), Err(TargetError::Both));
        assert!(matches!(
            Selection::new(&["i-0123456789abcdef0".into()], &[]),
            Err(TargetError::InvalidNode { .. })
        ));
    }

    proptest! {
        #[test]
        fn another_target_never_adds_a_node(
            a in "[a-c]", b in "[a-c]", tags in proptest::collection::vec(("[a-c]", "[a-c]"), 0..4),
        ) {
            let facts = || [NodeFacts { node: id(1), tags: tags.clone() }];
            let one = [target("tag:a", &[&a])];
            let two = [target("tag:a", &[&a]), target("tag:b", &[&b])];
            let count = |targets: &[_]| {
                Selection::new(&[], targets).unwrap().resolve(facts()).unwrap().len()
            };
            prop_assert!(count(&two) <= count(&one));
        }
    }
}
