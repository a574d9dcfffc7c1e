//! The chained token that tells a node from its clone: an index, randomness, and a MAC.
//! Never makes randomness, never stores a token.
//!
//! Each reply to a hello carries a fresh token; the next hello shows it. Accepted are the newest
//! token issued and the one that the node showed last, because the reply that carried the newest
//! may have been lost. Whoever shows another was copied from the node, or the node was.

use holdfast_protocol::NodeId;
use holdfast_protocol::up::Token;
use ring::hmac;

const DOMAIN: &[u8] = b"holdfast token v1";
const INDEX: usize = 8;
const RANDOM: usize = 16;
const MAC: usize = 32;
const LENGTH: usize = INDEX + RANDOM + MAC;

/// The bridge's key for tokens.
#[derive(Debug)]
pub struct TokenKey(hmac::Key);

/// What the bridge remembers of a node's chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// The newest token issued.
    pub issued: Token,
    /// The token that the hello showed to which the newest was issued; `None` at the first.
    pub shown: Option<Token>,
}

/// What a hello's token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It continues the chain.
    Continue,
    /// It is authentic and above the index stored: this bridge was restored from an older state.
    /// The chain goes on, and a gap is to be recorded.
    RestoredBridge,
    /// It does not continue the chain.
    Quarantine(Reason),
}

/// Why a node is quarantined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No token where one was issued and shown before.
    #[error(
        "the hello shows no token, though this node has shown one before: another machine holds its key"
    )]
    Missing,
    /// A token that this bridge never made for this node.
    #[error("the hello shows a token that this bridge never made for this node")]
    Forged,
    /// A token that was followed by others.
    #[error(
        "the hello shows a token that was used before: the node's state was copied or rolled back"
    )]
    Used,
}

impl TokenKey {
    /// Takes the key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    fn message(node: NodeId, head: &[u8]) -> Vec<u8> {
        [DOMAIN, node.as_str().as_bytes(), head].concat()
    }

    fn issue(&self, node: NodeId, index: u64, random: [u8; RANDOM]) -> Token {
        let head = [index.to_le_bytes().as_slice(), &random].concat();
        let mac = hmac::sign(&self.0, &Self::message(node, &head));
        // Cannot be refused: 56 bytes of at most 64.
        Token::new([&head, mac.as_ref()].concat()).unwrap_or_default()
    }

    /// The index of a token that this key made for this node.
    fn index(&self, node: NodeId, token: &Token) -> Option<u64> {
        let (head, mac) = token.split_at_checked(INDEX + RANDOM)?;
        if token.len() != LENGTH {
            return None;
        }
        hmac::verify(&self.0, &Self::message(node, head), mac).ok()?;
        let (index, _) = head.split_first_chunk()?;
        Some(u64::from_le_bytes(*index))
    }

    /// Judges what a hello shows against what is remembered.
    #[must_use]
    pub fn judge(&self, node: NodeId, chain: Option<&Chain>, shown: Option<&Token>) -> Verdict {
        let Some(shown) = shown else {
            return match chain {
                None => Verdict::Continue,
                // The first reply may have been lost.
                Some(chain) if chain.shown.is_none() => Verdict::Continue,
                Some(_) => Verdict::Quarantine(Reason::Missing),
            };
        };
        let Some(index) = self.index(node, shown) else {
            return Verdict::Quarantine(Reason::Forged);
        };
        let Some(chain) = chain else {
            return Verdict::RestoredBridge;
        };
        if *shown == chain.issued || chain.shown.as_ref() == Some(shown) {
            return Verdict::Continue;
        }
        match self.index(node, &chain.issued) {
            Some(newest) if index <= newest => Verdict::Quarantine(Reason::Used),
            Some(_) | None => Verdict::RestoredBridge,
        }
    }

    /// The chain after a hello that continues it; its newest token goes into the reply once the
    /// chain is stored.
    #[must_use]
    pub fn extend(
        &self,
        node: NodeId,
        chain: Option<&Chain>,
        shown: Option<&Token>,
        random: [u8; RANDOM],
    ) -> Chain {
        let index = |token: Option<&Token>| token.and_then(|token| self.index(node, token));
        let newest = index(chain.map(|chain| &chain.issued))
            .max(index(shown))
            .unwrap_or(0);
        Chain {
            issued: self.issue(node, newest.saturating_add(1), random),
            shown: shown.cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> TokenKey {
        TokenKey::new(&[7; 32])
    }

    fn node() -> NodeId {
        NodeId::from_random([1; 9])
    }

    /// One hello: the verdict, and the chain after it.
    fn hello(chain: &mut Option<Chain>, shown: Option<&Token>, random: u8) -> Verdict {
        let verdict = key().judge(node(), chain.as_ref(), shown);
        if !matches!(verdict, Verdict::Quarantine(_)) {
            *chain = Some(key().extend(node(), chain.as_ref(), shown, [random; 16]));
        }
        verdict
    }

    fn issued(chain: &Option<Chain>) -> Token {
        chain.as_ref().unwrap().issued.clone()
    }

    #[test]
    fn a_lost_reply_does_not_break_the_chain() {
        let mut chain = None;
        assert_eq!(hello(&mut chain, None, 1), Verdict::Continue);
        assert_eq!(hello(&mut chain, None, 2), Verdict::Continue);
        let first = issued(&chain);
        for random in 3..9 {
            assert_eq!(hello(&mut chain, Some(&first), random), Verdict::Continue);
        }
    }

    #[test]
    fn a_clone_is_found_at_its_second_hello_at_the_latest() {
        let mut chain = None;
        hello(&mut chain, None, 1);
        let copied = issued(&chain);
        assert_eq!(hello(&mut chain, Some(&copied), 2), Verdict::Continue);
        let original = issued(&chain);
        assert_eq!(hello(&mut chain, Some(&original), 3), Verdict::Continue);
        assert_eq!(
            hello(&mut chain, Some(&copied), 4),
            Verdict::Quarantine(Reason::Used)
        );
        assert_eq!(
            hello(&mut chain, None, 5),
            Verdict::Quarantine(Reason::Missing)
        );
    }

    #[test]
    fn a_clone_that_speaks_between_is_found_by_the_original() {
        let mut chain = None;
        hello(&mut chain, None, 1);
        let both = issued(&chain);
        hello(&mut chain, Some(&both), 2);
        let original = issued(&chain);
        // The clone shows what the original showed before, as after a lost reply.
        assert_eq!(hello(&mut chain, Some(&both), 3), Verdict::Continue);
        assert_eq!(
            hello(&mut chain, Some(&original), 4),
            Verdict::Quarantine(Reason::Used)
        );
    }

    #[test]
    fn a_restored_bridge_goes_on_above_what_it_once_issued() {
        let mut chain = None;
        hello(&mut chain, None, 1);
        let mut backup = chain.clone();
        for random in 2..6 {
            let shown = issued(&chain);
            hello(&mut chain, Some(&shown), random);
        }
        let shown = issued(&chain);
        assert_eq!(hello(&mut backup, Some(&shown), 7), Verdict::RestoredBridge);
        let next = issued(&backup);
        assert_eq!(hello(&mut backup, Some(&next), 8), Verdict::Continue);
        let mut nothing = None;
        assert_eq!(
            hello(&mut nothing, Some(&shown), 9),
            Verdict::RestoredBridge
        );
    }

    #[test]
    fn tokens_of_other_nodes_and_keys_are_forged() {
        let mut chain = None;
        hello(&mut chain, None, 1);
        let other = key()
            .extend(NodeId::from_random([2; 9]), None, None, [1; 16])
            .issued;
        let stranger = TokenKey::new(&[8; 32])
            .extend(node(), None, None, [1; 16])
            .issued;
        for token in [other, stranger, Token::default()] {
            let verdict = hello(&mut chain, Some(&token), 2);
            assert_eq!(verdict, Verdict::Quarantine(Reason::Forged));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_taken_for_a_token(bytes in proptest::collection::vec(any::<u8>(), 0..=64)) {
            let token = Token::new(bytes).unwrap();
            prop_assert_eq!(
                key().judge(node(), None, Some(&token)),
                Verdict::Quarantine(Reason::Forged)
            );
        }
    }
}
