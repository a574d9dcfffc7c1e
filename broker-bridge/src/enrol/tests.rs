//! Who gets a certificate, who does not, and what is left behind.
//! Never opens a socket.

use super::*;
use crate::pki::{Root, Signing, identity};
use crate::store::{Caller, NewActivation, Store, Tag};
use holdfast_protocol::enrol::{Activate, EnrolRefusal, Outcome, Renewal, Request, derive_key};
use holdfast_protocol::up::Platform;
use holdfast_protocol::{ActivationId, NodeId};
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use std::sync::Arc;

const NOW: u64 = 1_790_000_000_000;
const DAY: i64 = 24 * 60 * 60 * 1000;
const CODE: &str = "0123456789abcdef0123456789abcdef";

struct World {
    enroller: Enroller,
    store: Store,
    root: Arc<Root>,
    _dir: tempfile::TempDir,
}

fn now() -> i64 {
    i64::try_from(NOW).unwrap()
}

fn activation_id() -> ActivationId {
    ActivationId::from_random([1; 16])
}

fn pair() -> Ed25519KeyPair {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap()
}

impl World {
    async fn new(limit: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        let root = Arc::new(Root::open_or_create(dir.path()).unwrap());
        let signing = Arc::new(Signing::open_or_create(&root, dir.path(), 0).unwrap());
        let id = activation_id();
        let activation = NewActivation {
            id,
            code_key: derive_key(&id, CODE),
            description: String::new(),
            default_name: "till".into(),
            iam_role: "role".into(),
            registration_limit: limit,
            expires: now() + DAY,
            tags: vec![Tag {
                key: "site".into(),
                value: "north".into(),
            }],
        };
        store
            .create_activation(Caller::local(now()), activation)
            .await
            .unwrap();
        let enroller = Enroller::new(store.clone(), Arc::clone(&root), signing, 60).unwrap();
        Self {
            enroller,
            store,
            root,
            _dir: dir,
        }
    }

    async fn ask(&self, request: Request, now: u64) -> Outcome {
        let (nonce, key) = match &request {
            Request::Activate(activate) => (activate.nonce, activate.key),
            Request::Renew(renewal) => (renewal.nonce, renewal.key),
        };
        let reply = self.enroller.answer(&request, now).await.unwrap();
        reply.open(&nonce, &key, &self.root.public_key()).unwrap()
    }

    async fn activate(&self, pair: &Ed25519KeyPair, code: &str, now: u64) -> Outcome {
        let id = activation_id();
        let request = Activate::new([3; 16], id, code, pair, Platform::default(), "0.1.0").unwrap();
        self.ask(Request::Activate(request), now).await
    }

    async fn renew(&self, node: NodeId, old: &Ed25519KeyPair, new: &Ed25519KeyPair) -> Outcome {
        let renewal = Renewal::new([4; 16], node, old, new).unwrap();
        self.ask(Request::Renew(renewal), NOW).await
    }
}

fn issued(outcome: Outcome) -> NodeId {
    match outcome {
        Outcome::Issued {
            node, certificate, ..
        } => {
            assert_eq!(identity(&certificate).unwrap().node, node);
            node
        }
        Outcome::Refused { reason, detail } => panic!("{reason:?}: {detail}"),
    }
}

fn refused(outcome: Outcome) -> EnrolRefusal {
    match outcome {
        Outcome::Issued { node, .. } => panic!("{node} was enrolled"),
        Outcome::Refused { reason, detail } => {
            assert!(!detail.is_empty());
            reason
        }
    }
}

#[tokio::test]
async fn an_activation_makes_a_node_once_for_each_key() {
    let world = World::new(2).await;
    let (first, second, third) = (pair(), pair(), pair());
    let node = issued(world.activate(&first, CODE, NOW).await);
    assert_eq!(issued(world.activate(&first, CODE, NOW).await), node);
    let stored = world.store.node(node).await.unwrap().unwrap();
    assert_eq!(
        (stored.name.as_str(), stored.iam_role.as_str()),
        ("till", "role")
    );
    assert_eq!(world.store.node_tags(&[node]).await.unwrap().len(), 1);
    assert_ne!(issued(world.activate(&second, CODE, NOW).await), node);
    let third = world.activate(&third, CODE, NOW).await;
    assert_eq!(refused(third), EnrolRefusal::UsedUp);
    // A lost reply is repeated although nothing is left.
    assert_eq!(issued(world.activate(&first, CODE, NOW).await), node);
}

#[tokio::test]
async fn a_wrong_code_and_an_unknown_activation_are_told_alike() {
    let world = World::new(1).await;
    let key = pair();
    let wrong = world.activate(&key, "wrong", NOW).await;
    let id = ActivationId::from_random([9; 16]);
    let request = Activate::new([3; 16], id, CODE, &key, Platform::default(), "0.1.0").unwrap();
    let unknown = world.ask(Request::Activate(request), NOW).await;
    assert_eq!(wrong, unknown);
    assert_eq!(refused(wrong), EnrolRefusal::Activation);
    let expired = world
        .activate(&key, CODE, NOW + 2 * DAY.unsigned_abs())
        .await;
    assert_eq!(refused(expired), EnrolRefusal::Expired);
}

#[tokio::test]
async fn a_certified_key_renews_itself_and_no_other() {
    let world = World::new(1).await;
    let (first, second, third) = (pair(), pair(), pair());
    let node = issued(world.activate(&first, CODE, NOW).await);
    assert_eq!(issued(world.renew(node, &first, &second).await), node);
    // The reply was lost: the node still signs with the key it is sure of.
    assert_eq!(issued(world.renew(node, &first, &second).await), node);
    assert_eq!(issued(world.renew(node, &second, &third).await), node);
    let stale = world.renew(node, &first, &pair()).await;
    assert_eq!(refused(stale), EnrolRefusal::Node);
    let unknown = NodeId::from_random([8; 9]);
    let unknown = world.renew(unknown, &third, &pair()).await;
    assert_eq!(refused(unknown), EnrolRefusal::Node);
}

#[tokio::test]
async fn more_requests_than_the_bridge_takes_in_a_second_are_told_so() {
    let world = World::new(1).await;
    let key = pair();
    let mut last = world.activate(&key, "wrong", NOW).await;
    for _ in 0..100 {
        last = world.activate(&key, "wrong", NOW).await;
    }
    assert_eq!(refused(last), EnrolRefusal::Busy);
    let node = issued(world.activate(&key, CODE, NOW + 1000).await);
    // A flood of strangers keeps no connected node from its renewal.
    for _ in 0..100 {
        world.activate(&key, "wrong", NOW + 1000).await;
    }
    let renewed = pair();
    let renewal = Renewal::new([4; 16], node, &key, &renewed).unwrap();
    let reply = world.enroller.renew(&renewal, NOW + 1000).await.unwrap();
    let root = world.root.public_key();
    issued(reply.open(&renewal.nonce, &renewal.key, &root).unwrap());
}
