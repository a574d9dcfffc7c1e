//! MQTT topics, and which of them a node may publish and read.
//! Never trusts a topic's node: the caller compares it with the certificate's.

use crate::id::{NodeId, Nonce};
use crate::up::Class;
use std::{fmt, str::FromStr};

/// Longest topic in bytes.
pub const TOPIC_BYTES_MAX: usize = 96;

/// A topic of the tree `hf/1/<bucket>/<node>/…`, or of enrolment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// `…/presence`: birth and will.
    Presence(NodeId),
    /// `…/up/hello`: first words on each connection.
    Hello(NodeId),
    /// `…/up/<class>`: one stream of records.
    Stream(NodeId, Class),
    /// `…/up/answer`: busy, stale, known: said once, kept nowhere.
    Answer(NodeId),
    /// `…/up/renewal`: a fresh key asks for its certificate.
    Renewal(NodeId),
    /// `…/down/command`.
    Command(NodeId),
    /// `…/down/control`: hello's reply, acknowledgements, cancel, time. Never behind a command.
    Control(NodeId),
    /// `enroll/<nonce>/request`, without a client certificate.
    EnrolRequest(Nonce),
    /// `enroll/<nonce>/reply`.
    EnrolReply(Nonce),
}

/// A text is not a topic of Holdfast.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a topic of Holdfast")]
pub struct InvalidTopic(pub String);

impl Topic {
    /// Whether a client may publish here: a node under its own `up` and `presence`, a client
    /// without a certificate (`None`) only a request to enrol.
    #[must_use]
    pub fn may_publish(&self, client: Option<NodeId>) -> bool {
        match *self {
            Self::Presence(node)
            | Self::Hello(node)
            | Self::Stream(node, _)
            | Self::Answer(node)
            | Self::Renewal(node) => client == Some(node),
            Self::EnrolRequest(_) => client.is_none(),
            Self::Command(_) | Self::Control(_) | Self::EnrolReply(_) => false,
        }
    }

    /// Whether a client may read here: a node its own `down`, a client without a certificate the
    /// reply to an enrolment. There are no wildcards: a filter is one of these topics.
    #[must_use]
    pub fn may_subscribe(&self, client: Option<NodeId>) -> bool {
        match *self {
            Self::Command(node) | Self::Control(node) => client == Some(node),
            Self::EnrolReply(_) => client.is_none(),
            Self::Presence(_)
            | Self::Hello(_)
            | Self::Stream(..)
            | Self::Answer(_)
            | Self::Renewal(_)
            | Self::EnrolRequest(_) => false,
        }
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (node, tail) = match self {
            Self::Presence(node) => (node, "presence"),
            Self::Hello(node) => (node, "up/hello"),
            Self::Stream(node, class) => {
                return write!(f, "hf/1/{}/{node}/up/{}", node.bucket(), class.name());
            }
            Self::Answer(node) => (node, "up/answer"),
            Self::Renewal(node) => (node, "up/renewal"),
            Self::Command(node) => (node, "down/command"),
            Self::Control(node) => (node, "down/control"),
            Self::EnrolRequest(nonce) => return write!(f, "enroll/{}/request", hex::encode(nonce)),
            Self::EnrolReply(nonce) => return write!(f, "enroll/{}/reply", hex::encode(nonce)),
        };
        write!(f, "hf/1/{}/{node}/{tail}", node.bucket())
    }
}

impl FromStr for Topic {
    type Err = InvalidTopic;
    fn from_str(text: &str) -> Result<Self, InvalidTopic> {
        parse(text).ok_or_else(|| InvalidTopic(text.chars().take(TOPIC_BYTES_MAX).collect()))
    }
}

fn parse(text: &str) -> Option<Topic> {
    if text.len() > TOPIC_BYTES_MAX {
        return None;
    }
    if let Some(rest) = text.strip_prefix("enroll/") {
        let (digits, tail) = rest.split_once('/')?;
        let mut nonce = Nonce::default();
        hex::decode_to_slice(digits, &mut nonce).ok()?;
        // Upper-case digits would make a second name of one topic.
        return match tail {
            "request" if hex::encode(nonce) == digits => Some(Topic::EnrolRequest(nonce)),
            "reply" if hex::encode(nonce) == digits => Some(Topic::EnrolReply(nonce)),
            _ => None,
        };
    }
    let (bucket, rest) = text.strip_prefix("hf/1/")?.split_once('/')?;
    let (node, tail) = rest.split_once('/')?;
    let node: NodeId = node.parse().ok()?;
    if bucket != node.bucket().to_string() {
        return None;
    }
    Some(match tail {
        "presence" => Topic::Presence(node),
        "up/hello" => Topic::Hello(node),
        "up/answer" => Topic::Answer(node),
        "up/renewal" => Topic::Renewal(node),
        "down/command" => Topic::Command(node),
        "down/control" => Topic::Control(node),
        other => Topic::Stream(node, Class::from_name(other.strip_prefix("up/")?)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(node: NodeId) -> Vec<Topic> {
        let mut topics = vec![
            Topic::Presence(node),
            Topic::Hello(node),
            Topic::Answer(node),
            Topic::Renewal(node),
            Topic::Command(node),
            Topic::Control(node),
            Topic::EnrolRequest([7; 16]),
            Topic::EnrolReply([7; 16]),
        ];
        topics.extend(Class::ALL.map(|class| Topic::Stream(node, class)));
        topics
    }

    #[test]
    fn each_topic_reads_back_as_itself_and_fits() {
        for topic in all(NodeId::from_random([9; 9])) {
            let text = topic.to_string();
            assert!(text.len() <= TOPIC_BYTES_MAX, "{text}");
            assert_eq!(text.parse(), Ok(topic));
        }
    }

    #[test]
    fn a_node_has_rights_under_its_own_name_only() {
        let (own, other) = (NodeId::from_random([1; 9]), NodeId::from_random([2; 9]));
        for topic in all(own) {
            assert!(
                !topic.may_publish(Some(other)) && !topic.may_subscribe(Some(other)),
                "{topic}"
            );
            assert!(
                !(topic.may_publish(Some(own)) && topic.may_subscribe(Some(own))),
                "{topic}"
            );
        }
        assert!(Topic::EnrolRequest([7; 16]).may_publish(None));
        assert!(!Topic::Hello(own).may_publish(None));
    }

    #[test]
    fn a_wrong_bucket_and_wildcards_are_no_topics() {
        let node = NodeId::from_random([1; 9]);
        let wrong = (node.bucket() + 1) % 64;
        for text in [
            format!("hf/1/{wrong}/{node}/up/hello"),
            format!("hf/1/+/{node}/up/hello"),
            "#".into(),
            "hf/1/#".into(),
        ] {
            assert!(text.parse::<Topic>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_the_same(text in "(hf/1/[0-9]{1,2}/mi-[0-9a-f]{17}/(up|down)/[a-z]{1,8}|enroll/[0-9a-fA-F]{32}/re(quest|ply)|.{0,100})") {
            if let Ok(topic) = text.parse::<Topic>() {
                prop_assert_eq!(topic.to_string(), text);
            }
        }
    }
}
