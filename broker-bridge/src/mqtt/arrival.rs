//! A client's first packet: who it is, what it may be told, its will.
//! Never lets in one whose client id is not its certificate's node.

use super::encode::ConnectCode;
use super::packet::Connect;
use holdfast_protocol::NodeId;
use holdfast_protocol::topic::Topic;
use std::time::Duration;

/// Longest client id of a client without a certificate.
const CLIENT_ID_BYTES_MAX: usize = 64;
/// Longest will; a presence frame is a few bytes.
const WILL_BYTES_MAX: usize = 256;

/// What a CONNECT amounts to, once it was found right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Admission {
    /// Silence after which the client is gone: one and a half times its keep-alive (3.1.2.10).
    pub(super) silence: Option<Duration>,
    /// What is published under its presence when it vanishes.
    pub(super) will: Option<Box<[u8]>>,
}

/// Why a CONNECT was not accepted, each with its return code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("client id `{client_id}` is not the certificate's node {node}")]
    ClientId { client_id: String, node: NodeId },
    #[error("client id of {0} bytes: at most {CLIENT_ID_BYTES_MAX} are allowed")]
    LongClientId(usize),
    #[error("client id is empty without a clean session")]
    EmptyClientId,
    #[error("a user name came: the certificate is the only identity")]
    UserName,
    #[error("the will is not a short message, not retained, at QoS 0 or 1, under its own presence")]
    Will,
}

impl ConnectError {
    pub(super) fn code(&self) -> ConnectCode {
        match self {
            Self::ClientId { .. } | Self::LongClientId(_) | Self::EmptyClientId => {
                ConnectCode::ClientId
            }
            Self::UserName => ConnectCode::UserName,
            Self::Will => ConnectCode::NotAuthorized,
        }
    }
}

/// Checks a CONNECT of a client whose certificate names `node`; `None` without one.
pub(super) fn admit(
    connect: &Connect<'_>,
    node: Option<NodeId>,
) -> Result<Admission, ConnectError> {
    let client_id = connect.client_id;
    match node {
        Some(node) if node.as_str() != client_id => {
            return Err(ConnectError::ClientId {
                client_id: client_id.chars().take(CLIENT_ID_BYTES_MAX).collect(),
                node,
            });
        }
        None if client_id.len() > CLIENT_ID_BYTES_MAX => {
            return Err(ConnectError::LongClientId(client_id.len()));
        }
        None if client_id.is_empty() && !connect.clean_session => {
            return Err(ConnectError::EmptyClientId);
        }
        _ => {}
    }
    if connect.has_user_name {
        return Err(ConnectError::UserName);
    }
    let will = match &connect.will {
        None => None,
        Some(will) => {
            let topic = will.topic.parse::<Topic>();
            let own = node.is_some_and(|node| topic == Ok(Topic::Presence(node)));
            if !own || will.qos > 1 || will.retain || will.payload.len() > WILL_BYTES_MAX {
                return Err(ConnectError::Will);
            }
            Some(will.payload.into())
        }
    };
    let keep_alive = Duration::from_secs(u64::from(connect.keep_alive));
    Ok(Admission {
        silence: Some(keep_alive * 3 / 2).filter(|silence| !silence.is_zero()),
        will,
    })
}

#[cfg(test)]
mod tests {
    use super::super::packet::Will;
    use super::*;

    fn node() -> NodeId {
        NodeId::from_random([1; 9])
    }

    fn connect(client_id: &str) -> Connect<'_> {
        Connect {
            client_id,
            clean_session: true,
            keep_alive: 30,
            will: None,
            has_user_name: false,
        }
    }

    #[test]
    fn a_certificate_its_node_and_the_client_id_are_one() {
        let (own, other) = (node(), NodeId::from_random([2; 9]));
        let admission = admit(&connect(own.as_str()), Some(own)).unwrap();
        assert_eq!(admission.silence, Some(Duration::from_secs(45)));
        let error = admit(&connect(other.as_str()), Some(own)).unwrap_err();
        assert_eq!(error.code(), ConnectCode::ClientId);
        assert!(admit(&connect("anything"), None).is_ok());
        assert!(admit(&connect(&"x".repeat(65)), None).is_err());
    }

    #[test]
    fn only_a_will_under_its_own_presence_is_taken() {
        let own = node();
        let (presence, hello) = (
            Topic::Presence(own).to_string(),
            Topic::Hello(own).to_string(),
        );
        let with = |topic: &str, qos, retain, node| {
            let will = Will {
                topic,
                payload: b"gone",
                qos,
                retain,
            };
            let connect = Connect {
                will: Some(will),
                ..connect(own.as_str())
            };
            admit(&connect, node)
        };
        assert!(with(&presence, 1, false, Some(own)).unwrap().will.is_some());
        for wrong in [
            with(&hello, 1, false, Some(own)),
            with(&presence, 2, false, Some(own)),
            with(&presence, 1, true, Some(own)),
            with(&presence, 1, false, None),
        ] {
            assert_eq!(wrong, Err(ConnectError::Will));
        }
    }
}
