//! The walk from an untyped tree to typed members, which always knows where it stands.
//! Never lets a member pass that nobody asked for.

use std::collections::BTreeSet;

use crate::error::{DocumentError, DocumentPath};
use crate::limits::excerpt;
use crate::node::Node;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    pub(crate) path: DocumentPath,
    pub(crate) node: &'a Node,
}

impl<'a> Cursor<'a> {
    pub(crate) fn root(node: &'a Node) -> Self {
        Self {
            path: DocumentPath::default(),
            node,
        }
    }

    pub(crate) fn wrong_type(&self, expected: &'static str) -> DocumentError {
        DocumentError::WrongType {
            path: self.path.clone(),
            found: self.node.kind(),
            expected,
        }
    }

    pub(crate) fn not_allowed(&self, found: &str, allowed: impl Into<String>) -> DocumentError {
        DocumentError::NotAllowed {
            path: self.path.clone(),
            found: excerpt(found),
            allowed: allowed.into(),
        }
    }

    pub(crate) fn text(&self) -> Result<&'a str, DocumentError> {
        if let Node::Text(text) = self.node {
            Ok(text)
        } else {
            Err(self.wrong_type("a string"))
        }
    }

    /// A string, or the way a number or boolean is written: YAML leaves the quotes away.
    pub(crate) fn scalar_text(&self) -> Result<String, DocumentError> {
        match self.node {
            Node::Text(text) => Ok(text.clone()),
            Node::Boolean(value) => Ok(value.to_string()),
            Node::Integer(value) => Ok(value.to_string()),
            Node::Null | Node::Decimal(_) | Node::List(_) | Node::Map(_) => {
                Err(self.wrong_type("a string, whole number or boolean"))
            }
        }
    }

    /// `true` or `false`, bare or quoted.
    pub(crate) fn boolean(&self) -> Result<bool, DocumentError> {
        match self.node {
            Node::Boolean(value) => Ok(*value),
            Node::Text(text) => match text.as_str() {
                "true" | "True" => Ok(true),
                "false" | "False" => Ok(false),
                other => Err(self.not_allowed(other, "true, false")),
            },
            Node::Null | Node::Integer(_) | Node::Decimal(_) | Node::List(_) | Node::Map(_) => {
                Err(self.wrong_type("a boolean"))
            }
        }
    }

    /// A count of zero or more, bare or quoted.
    pub(crate) fn size(&self) -> Result<usize, DocumentError> {
        let text = self.scalar_text()?;
        text.parse()
            .map_err(|_| self.not_allowed(&text, "a whole number, 0 or more"))
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.node, Node::List(_))
    }

    /// The items of a list of at most `limit`.
    pub(crate) fn items(&self, limit: usize) -> Result<Vec<Cursor<'a>>, DocumentError> {
        let Node::List(items) = self.node else {
            return Err(self.wrong_type("a list"));
        };
        self.bounded(items.len(), limit)?;
        Ok(items
            .iter()
            .enumerate()
            .map(|(index, node)| Cursor {
                path: self.path.item(index),
                node,
            })
            .collect())
    }

    /// The entries of a map of at most `limit`, whose keys are the document's own names.
    pub(crate) fn entries(
        &self,
        limit: usize,
    ) -> Result<Vec<(&'a str, Cursor<'a>)>, DocumentError> {
        let Node::Map(entries) = self.node else {
            return Err(self.wrong_type("a map"));
        };
        self.bounded(entries.len(), limit)?;
        Ok(entries
            .iter()
            .map(|(key, node)| {
                let path = self.path.member(key);
                (key.as_str(), Cursor { path, node })
            })
            .collect())
    }

    /// The members of a map whose keys are the language's names.
    pub(crate) fn members(&self) -> Result<Members<'a>, DocumentError> {
        let Node::Map(entries) = self.node else {
            return Err(self.wrong_type("a map"));
        };
        Ok(Members {
            path: self.path.clone(),
            entries,
            asked: BTreeSet::new(),
        })
    }

    fn bounded(&self, count: usize, limit: usize) -> Result<(), DocumentError> {
        if count > limit {
            return Err(DocumentError::TooMany {
                path: self.path.clone(),
                count,
                limit,
            });
        }
        Ok(())
    }
}

/// The members of one map. Each name asked for is a name allowed there, so the list that
/// [`Members::finish`] shows cannot differ from what the parser reads.
#[derive(Debug)]
pub(crate) struct Members<'a> {
    path: DocumentPath,
    entries: &'a [(String, Node)],
    asked: BTreeSet<&'static str>,
}

impl<'a> Members<'a> {
    /// The member `name`; a null counts as absent, as both formats write an empty member.
    pub(crate) fn optional(&mut self, name: &'static str) -> Option<Cursor<'a>> {
        self.asked.insert(name);
        self.entries
            .iter()
            .find(|(key, node)| key == name && *node != Node::Null)
            .map(|(_, node)| Cursor {
                path: self.path.member(name),
                node,
            })
    }

    pub(crate) fn required(&mut self, name: &'static str) -> Result<Cursor<'a>, DocumentError> {
        self.optional(name).ok_or_else(|| DocumentError::Missing {
            path: self.path.member(name),
        })
    }

    pub(crate) fn optional_text(
        &mut self,
        name: &'static str,
    ) -> Result<Option<String>, DocumentError> {
        self.optional(name)
            .map(|cursor| cursor.text().map(str::to_owned))
            .transpose()
    }

    /// Refuses the first member that was not asked for.
    pub(crate) fn finish(self) -> Result<(), DocumentError> {
        match self
            .entries
            .iter()
            .find(|(key, _)| !self.asked.contains(key.as_str()))
        {
            None => Ok(()),
            Some((key, _)) => Err(DocumentError::UnknownMember {
                path: self.path.member(key),
                allowed: self.asked.into_iter().collect::<Vec<_>>().join(", "),
            }),
        }
    }
}
