//! Who a node is: clones, take-over, quarantine, deregistration, restored bridges.

use super::*;
use crate::store::{AuditFilter, CheckedBackup, Page, floors};
use holdfast_bridge_core::retention::DAY_MS;
use holdfast_protocol::down::HelloRefusalReason;
use holdfast_protocol::up::Event;

fn log(detail: &str) -> Record {
    let name = "line".try_into().unwrap();
    Record::Log(Event {
        stamp: Agent::stamp(),
        name,
        detail: text(detail),
    })
}

async fn refused(world: &World, agent: &mut Agent) -> HelloRefusalReason {
    let wire = world.arrive(agent).await.unwrap();
    let hello = Up::Hello(Box::new(agent.hello()));
    wire.publish(Topic::Hello(agent.node), &hello).await;
    let Down::HelloRefusal(refusal) = agent.next(&wire).await else {
        panic!("not refused");
    };
    refusal.reason
}

#[tokio::test]
async fn a_clone_is_quarantined_until_it_is_released() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    world.online(&mut agent).await;
    let mut clone = agent.clone();
    world.online(&mut agent).await;
    world.online(&mut agent).await;
    assert_eq!(
        refused(&world, &mut clone).await,
        HelloRefusalReason::Quarantined
    );
    // Which of the two is the copy, nobody can tell: both stay out.
    assert_eq!(
        refused(&world, &mut agent).await,
        HelloRefusalReason::Quarantined
    );
    let node = world.store().node(agent.node).await.unwrap().unwrap();
    assert!(node.quarantine.unwrap().contains("copied"));
    world.hub.release(world.caller(), agent.node).await.unwrap();
    world.online(&mut agent).await;
    assert_eq!(
        refused(&world, &mut clone).await,
        HelloRefusalReason::Quarantined
    );
}

#[tokio::test]
async fn a_lost_reply_is_no_clone() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    world.online(&mut agent).await;
    for _ in 0..3 {
        let wire = world.arrive(&agent).await.unwrap();
        agent.clone().greet(&wire).await;
    }
    world.online(&mut agent).await;
}

#[tokio::test]
async fn a_newer_connection_takes_over_and_the_older_ones_end_says_nothing() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let old = world.online(&mut agent).await;
    let new = world.online(&mut agent).await;
    assert!(old.mailbox.closed().is_some());
    let verdict = agent.put(&old, Class::Log, 1, log("late")).await;
    assert!(matches!(verdict, Verdict::Close(_)));
    world.hub.disconnect(old.connection, Departure::Lost);
    let id = world.send(&[agent.node], |_| {}).await.id;
    assert_eq!(agent.command(&new).await.id, id);
    assert_eq!(world.hub.connections(), 1);
}

#[tokio::test]
async fn a_node_that_another_process_deregistered_is_disconnected() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let seen = world.store().audit_head().await.unwrap();
    let caller = Caller::local_user("operator", world.caller().now);
    super::super::deregister(world.store(), caller, agent.node)
        .await
        .unwrap();
    assert!(wire.mailbox.closed().is_none());
    let newest = world.hub.follow(seen).await;
    assert!(wire.mailbox.closed().is_some());
    assert!(newest > seen);
    assert_eq!(world.hub.follow(newest).await, newest);
}

#[tokio::test]
async fn a_deregistered_node_is_closed_out_and_its_invocations_end() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    agent.command(&wire).await;
    world
        .hub
        .deregister(world.caller(), agent.node)
        .await
        .unwrap();
    assert!(wire.mailbox.closed().is_some());
    assert_eq!(
        world.details(id, agent.node).await,
        StatusDetails::Undeliverable
    );
    // What it was sent may still run.
    assert_eq!(world.store().slots_held(id).await.unwrap(), 1);
    // What was on its way still arrives, and leaves no trace.
    agent.put(&wire, Class::Log, 1, log("late")).await;
    let page = Page::first(1);
    let events = world.store().node_events(agent.node, &page).await;
    assert!(events.unwrap().items.is_empty());
    assert_eq!(
        world.arrive(&agent).await.err(),
        Some(ConnectRefusal::Revoked)
    );
    assert!(
        world
            .hub
            .deregister(world.caller(), agent.node)
            .await
            .is_err()
    );
    let audit = world
        .store()
        .audit(&Default::default(), &Page::first(1))
        .await
        .unwrap()
        .items;
    assert_eq!(audit[0].operation, "DeregisterManagedInstance");
    assert_eq!(audit[0].access_key_id, "AKIATEST");
}

#[tokio::test]
async fn strangers_and_foreign_keys_are_not_let_in() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    agent.key = [9; 32];
    assert_eq!(
        world.arrive(&agent).await.err(),
        Some(ConnectRefusal::Unknown)
    );
    agent.node = NodeId::from_random([8; 9]);
    assert_eq!(
        world.arrive(&agent).await.err(),
        Some(ConnectRefusal::Unknown)
    );
}

#[tokio::test]
async fn a_restored_bridge_goes_on_and_counts_what_it_lost() {
    let mut world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    agent.record(&wire, log("a")).await;
    let backup = world.dir.path().join("backup.db");
    world.store().backup(&backup).await.unwrap();
    agent.record(&wire, log("b")).await;
    let forgotten = world.send(&[agent.node], |_| {}).await.id;
    agent.command(&wire).await;
    world.online(&mut agent).await;
    agent.heads[Class::Log.index()].acked = 2;

    world.hub.stop().await;
    let backup = CheckedBackup::open(&backup).await.unwrap();
    assert!(backup.fits(&world.state(), false).is_err());
    backup
        .restore(&world.state(), true, Caller::local(NOW))
        .await
        .unwrap();
    world.hub = World::start(world.state(), &world.clock, &world.serial).await;
    let wire = world.arrive(&agent).await.unwrap();
    let reply = agent.greet(&wire).await;
    assert_eq!(reply.acks, [0, 0, 0, 2]);
    agent.token = Some(reply.token);
    let gaps = world.store().gaps(agent.node).await.unwrap();
    assert_eq!(
        (gaps[0].reason.as_str(), gaps[0].records),
        ("bridge-restored", 1)
    );
    // The result of a command that it no longer knows is taken and acknowledged.
    agent
        .result(&wire, forgotten, InvocationState::Success)
        .await;
    assert!(matches!(agent.next(&wire).await, Down::Ack(ack) if ack.acks[0] == 1));
    let id = world.send(&[agent.node], |_| {}).await.id;
    assert_eq!(agent.command(&wire).await.id, id);
    // It renewed its certificate after the backup: the root's word for the new key is enough.
    agent.key = [5; 32];
    world.online(&mut agent).await;
    let node = world.store().node(agent.node).await.unwrap().unwrap();
    assert_eq!(
        (node.key, node.certificate.serial.as_str()),
        ([5; 32], "05")
    );
    // Its end is no later than that on record: an older certificate proves nothing.
    agent.key = [6; 32];
    let older = world.arrive(&agent).await.err();
    assert_eq!(older, Some(ConnectRefusal::Unknown));
    let restored = world.store().meta(crate::store::RESTORED_AT).await.unwrap();
    assert_eq!(restored, Some(NOW.to_string()));
}

#[tokio::test]
async fn a_hello_of_another_revision_is_told_what_the_bridge_writes() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.arrive(&agent).await.unwrap();
    let mut hello = agent.hello();
    hello.revisions = (3, 4);
    wire.publish(Topic::Hello(agent.node), &Up::Hello(Box::new(hello)))
        .await;
    let Down::HelloRefusal(refusal) = agent.next(&wire).await else {
        panic!("not refused")
    };
    assert_eq!(refusal.reason, HelloRefusalReason::Revision(1, 2));
}

#[tokio::test]
async fn a_node_that_took_over_and_left_without_a_word_is_away() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let old = world.online(&mut agent).await;
    let silent = world.arrive(&agent).await.unwrap();
    world.hub.disconnect(old.connection, Departure::Lost);
    world.offline(&agent, silent).await;
}

#[tokio::test]
async fn a_rotated_signing_key_reaches_a_connected_node_with_its_next_frame() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    world.serial.store(2, Ordering::SeqCst);
    let first = world.send(&[agent.node], |_| {}).await;
    assert_eq!(agent.command(&wire).await.id, first.id);
    assert_eq!(agent.opener.newest_serial(), 2);
}

#[tokio::test]
async fn a_hello_of_a_connection_that_was_taken_over_changes_nothing() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let old = world.arrive(&agent).await.unwrap();
    let late = world.hub.shared.sessions.of(old.connection).unwrap();
    let hello = Box::new(agent.hello());
    let new = world.online(&mut agent).await;
    // It was read before the newer connection took over, and is judged after that one's hello.
    let verdict = world.hub.hello(late, hello).await;
    assert_eq!(verdict, Verdict::Close(crate::mqtt::CloseReason::TakenOver));
    let node = world.store().node(agent.node).await.unwrap().unwrap();
    assert_eq!(node.quarantine, None);
    world.offline(&agent, new).await;
    world.online(&mut agent).await;
}

#[tokio::test]
async fn a_node_whose_leaving_could_not_be_stored_is_not_online_for_ever() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let mut other = world.agent(2).await;
    let wire = world.online(&mut agent).await;
    let stays = world.online(&mut other).await;
    world
        .statement(
            "CREATE TRIGGER full BEFORE UPDATE OF connection ON nodes WHEN NEW.connection = 0 \
         BEGIN SELECT RAISE(ABORT, 'no space'); END",
        )
        .await;
    world.hub.disconnect(wire.connection, Departure::Lost);
    world
        .until(async || world.hub.shared.strays.load(Ordering::Relaxed))
        .await;
    world.hub.tick().await;
    let connectivity = async |agent: &Agent| {
        let node = world.store().node(agent.node).await.unwrap().unwrap();
        node.connectivity
    };
    use crate::store::Connectivity;
    assert_eq!(connectivity(&agent).await, Connectivity::Online);
    world.statement("DROP TRIGGER full").await;
    world.hub.tick().await;
    assert_eq!(connectivity(&agent).await, Connectivity::ConnectionLost);
    assert_eq!(connectivity(&other).await, Connectivity::Online);
    drop(stays);
}

#[tokio::test]
async fn a_node_whose_disk_was_rolled_back_is_sent_nothing_before_its_new_life() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    agent.record(&wire, log("a")).await;
    agent.heads = [StreamHead::default(); 4];
    let rolled_back = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    // Sealed for the life of the outbox that it gives up, it would be acknowledged and lost.
    assert!(world.hub.dispatch(vec![id]).await);
    assert_eq!(world.invocation(id, agent.node).await.sent, None);
    assert!(rolled_back.mailbox.pop().is_none());
    agent.outbox = OutboxId(77);
    let wire = world.online(&mut agent).await;
    assert_eq!(agent.command(&wire).await.id, id);
}

#[tokio::test]
async fn the_key_before_a_renewal_ends_with_the_first_hello_under_the_new_one() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    world.online(&mut agent).await;
    let certificate = NodeCertificate {
        serial: "09".into(),
        expires: NOW + 2_000_000,
    };
    let renewed = world
        .store()
        .renew_node(agent.node, agent.key, [9; 32], certificate)
        .await;
    assert!(renewed.unwrap());
    // The reply may be lost, so the old key is good until the new one was used.
    world.online(&mut agent).await;
    let old = std::mem::replace(&mut agent.key, [9; 32]);
    world.online(&mut agent).await;
    agent.key = old;
    let refused = world.arrive(&agent).await.err();
    assert_eq!(refused, Some(ConnectRefusal::Unknown));
}

#[tokio::test]
async fn an_idle_node_is_told_of_a_rotation_at_once() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    world.serial.store(2, Ordering::SeqCst);
    world.hub.rotated();
    let down = agent.next(&wire).await;
    assert_eq!(down, Down::Rotation(down::Rotation { serial: 2 }));
    assert_eq!(agent.opener.newest_serial(), 2);
}

#[tokio::test]
async fn a_floor_is_set_back_by_the_root_until_the_node_confirms_it() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let store = world.store();
    let stranger = NodeId::from_random([8; 9]);
    assert!(
        !store
            .want_floor_reset(world.caller(), stranger)
            .await
            .unwrap()
    );
    let node = agent.node;
    let want = async || {
        let wanted = store.want_floor_reset(world.caller(), node).await;
        assert!(wanted.unwrap());
    };
    want().await;
    let reset = Down::FloorReset(down::FloorReset {
        nonce: agent.hello().nonce,
        unix_ms: u64::try_from(NOW).unwrap(),
    });
    let id = world.send(&[agent.node], |_| {}).await.id;
    for _ in 0..2 {
        // Before the command, and again with each hello.
        let wire = world.online(&mut agent).await;
        assert_eq!(agent.next(&wire).await, reset);
        assert_eq!(agent.command(&wire).await.id, id);
        world.hub.reset_floors().await;
        assert!(wire.mailbox.pop().is_none());
    }
    let wire = world.online(&mut agent).await;
    assert_eq!(agent.next(&wire).await, reset);
    assert_eq!(agent.command(&wire).await.id, id);
    // Wanted once more before the word on the first came: that word is none on the second.
    let later = NOW + 5;
    world.clock.store(later, Ordering::SeqCst);
    want().await;
    agent.record(&wire, floor_confirmed(NOW)).await;
    world.hub.reset_floors().await;
    let again = Down::FloorReset(down::FloorReset {
        nonce: agent.hello().nonce,
        unix_ms: u64::try_from(later).unwrap(),
    });
    let mut sent = agent.next(&wire).await;
    while matches!(sent, Down::Ack(_)) {
        sent = agent.next(&wire).await;
    }
    assert_eq!(sent, again);
    agent.record(&wire, floor_confirmed(later)).await;
    let wire = world.online(&mut agent).await;
    assert_eq!(agent.command(&wire).await.id, id);
    want().await;
    world.hub.deregister(world.caller(), node).await.unwrap();
    let mut reads = store.reads.acquire().await.unwrap();
    assert_eq!(floors::unsent(&mut reads, 10).await.unwrap(), []);
}

#[tokio::test]
async fn every_floor_is_set_back_by_one_verb_of_connected_nodes_at_once() {
    let world = World::new().await;
    let (mut here, mut away) = (world.agent(1).await, world.agent(2).await);
    let gone = world.agent(3).await;
    let caller = world.caller();
    world.hub.deregister(caller, gone.node).await.unwrap();
    let wire = world.online(&mut here).await;
    let store = world.store();
    assert_eq!(store.want_floor_resets(world.caller()).await.unwrap(), 2);
    world.hub.reset_floors().await;
    let reset = |agent: &Agent| {
        Down::FloorReset(down::FloorReset {
            nonce: agent.hello().nonce,
            unix_ms: u64::try_from(NOW).unwrap(),
        })
    };
    let expected = reset(&here);
    assert_eq!(here.next(&wire).await, expected);
    let wire = world.online(&mut away).await;
    let expected = reset(&away);
    assert_eq!(away.next(&wire).await, expected);
    let audit = store.audit(&AuditFilter::default(), &Page::first(1)).await;
    let entry = audit.unwrap().items.remove(0);
    assert_eq!(
        (
            entry.operation.as_str(),
            entry.target.as_str(),
            entry.detail.as_str()
        ),
        ("ResetFloor", "all nodes", "2 nodes")
    );
}

fn floor_confirmed(floor: i64) -> Record {
    Record::Audit(Event {
        stamp: Agent::stamp(),
        name: down::FloorReset::CONFIRMATION.try_into().unwrap(),
        detail: Text::new(format!("{floor} ms since 1970")).unwrap(),
    })
}

#[tokio::test]
async fn a_deregistration_is_followed_after_the_whole_trail_has_aged() {
    let world = World::new().await;
    let (agent, store) = (world.agent(1).await, world.store());
    let seen = store.audit_head().await.unwrap();
    assert!(seen > 0);
    world.clock.fetch_add(100 * DAY_MS, Ordering::SeqCst);
    world.hub.prune().await;
    crate::hub::deregister(store, world.caller(), agent.node)
        .await
        .unwrap();
    let (nodes, _) = store.deregistered_since(seen).await.unwrap();
    assert_eq!(nodes, [agent.node]);
}
