//! The few places on the wire to a node: given back by a PUBACK, by a stale counter, by a failed write.

use super::*;

/// A node with every place taken, and one more command that waits for one.
async fn full(world: &World) -> (Agent, Wire, Vec<(CommandId, DeliveryId)>, CommandId) {
    let mut agent = world.agent(1).await;
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..5 {
        ids.insert(world.send(&[agent.node], |_| {}).await.id);
    }
    // They waited for the node: one write looks at all of them.
    let wire = world.online(&mut agent).await;
    let mut taken = Vec::new();
    for _ in 0..4 {
        let (id, delivery) = agent.unacknowledged(&wire).await;
        ids.remove(&id);
        taken.push((id, delivery));
    }
    let waits = ids.pop_first().unwrap();
    (agent, wire, taken, waits)
}

/// The node had used up the counter under which this command came.
fn stale(agent: &Agent, command: CommandId) -> Up {
    Up::Answer(Answer::Stale {
        command: Some(command),
        counter: agent.counter,
    })
}

async fn closed(world: &World, wire: &Wire) {
    world.until(async || wire.mailbox.closed().is_some()).await;
}

#[tokio::test]
async fn a_place_that_comes_free_is_for_what_waits() {
    let world = World::new().await;
    let (mut agent, wire, taken, waits) = full(&world).await;
    wire.hub.delivered(wire.connection, taken[0].1);
    assert_eq!(agent.command(&wire).await.id, waits);
}

#[tokio::test]
async fn what_a_stale_counter_kept_out_is_not_delivered_by_the_puback_behind_it() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    let (_, delivery) = agent.unacknowledged(&wire).await;
    agent.counter += 1000;
    let frame = stale(&agent, id).encode().unwrap();
    // Both came in one piece: the endpoint hands over the second before the first is answered.
    let answered = world
        .hub
        .publish(wire.connection, Topic::Answer(agent.node), &frame);
    wire.hub.delivered(wire.connection, delivery);
    soon(answered).await.unwrap();
    let (again, delivery) = agent.unacknowledged(&wire).await;
    assert_eq!(again, id);
    // Another command's delivery is recorded after whatever that PUBACK would have brought.
    let other = world.send(&[agent.node], |_| {}).await.id;
    assert_eq!(agent.command(&wire).await.id, other);
    let delivered = async |id| world.invocation(id, agent.node).await.state.delivered;
    world.until(async || delivered(other).await).await;
    assert!(!delivered(id).await);
    wire.hub.delivered(wire.connection, delivery);
    world.until(async || delivered(id).await).await;
}

#[tokio::test]
async fn what_the_node_has_no_room_for_is_not_delivered_though_its_word_is_not_recorded() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    let (_, delivery) = agent.unacknowledged(&wire).await;
    world
        .statement(
            "CREATE TRIGGER full BEFORE UPDATE OF retry_ms ON invocations \
             BEGIN SELECT RAISE(ABORT, 'disk full'); END",
        )
        .await;
    let busy = Answer::Busy {
        command: id,
        bound: holdfast_protocol::up::Bound::Commands(1),
    };
    let frame = Up::Answer(busy).encode().unwrap();
    let answered = world
        .hub
        .publish(wire.connection, Topic::Answer(agent.node), &frame);
    wire.hub.delivered(wire.connection, delivery);
    soon(answered).await.unwrap();
    closed(&world, &wire).await;
    world.statement("DROP TRIGGER full").await;
    // It lost its outbox: only what it is not known to have may be sent again.
    world.offline(&agent, wire).await;
    agent.outbox = OutboxId(99);
    agent.heads = Default::default();
    let wire = world.online(&mut agent).await;
    assert_eq!(agent.command(&wire).await.id, id);
}

#[tokio::test]
async fn a_place_whose_use_fails_to_be_recorded_ends_the_session() {
    let world = World::new().await;
    let (mut agent, wire, taken, waits) = full(&world).await;
    world
        .statement(
            "CREATE TRIGGER full BEFORE UPDATE OF delivered ON invocations \
             WHEN NEW.delivered = 1 BEGIN SELECT RAISE(ABORT, 'disk full'); END",
        )
        .await;
    wire.hub.delivered(wire.connection, taken[0].1);
    closed(&world, &wire).await;
    world.statement("DROP TRIGGER full").await;
    world.offline(&agent, wire).await;
    let wire = world.online(&mut agent).await;
    while agent.command(&wire).await.id != waits {}
}

#[tokio::test]
async fn places_given_back_by_stale_counters_are_for_what_waits() {
    let world = World::new().await;
    let (mut agent, wire, taken, waits) = full(&world).await;
    for (id, _) in &taken {
        let cancel = world.hub.cancel_command(world.caller(), *id, vec![]);
        cancel.await.unwrap();
    }
    // Nothing of them will be acknowledged, for none of them is to be sent again.
    for (id, _) in &taken {
        let stale = stale(&agent, *id);
        wire.publish(Topic::Answer(agent.node), &stale).await;
    }
    assert_eq!(agent.unacknowledged(&wire).await.0, waits);
}

#[tokio::test]
async fn a_stale_counter_whose_command_cannot_be_read_ends_the_session() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    agent.unacknowledged(&wire).await;
    world
        .statement("UPDATE invocations SET status_details = 'x'")
        .await;
    let stale = stale(&agent, id);
    wire.publish(Topic::Answer(agent.node), &stale).await;
    closed(&world, &wire).await;
}

#[tokio::test]
async fn a_write_that_fails_takes_no_place_from_a_send_that_was_recorded_before() {
    let world = World::new().await;
    let (mut agent, mut other) = (world.agent(1).await, world.agent(2).await);
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node, other.node], |_| {}).await.id;
    let (_, delivery) = agent.unacknowledged(&wire).await;
    // The other comes, and its send cannot be recorded.
    world
        .statement(
            "CREATE TRIGGER full BEFORE UPDATE OF sends ON invocations \
             BEGIN SELECT RAISE(ABORT, 'disk full'); END",
        )
        .await;
    let others = world.online(&mut other).await;
    assert!(!world.hub.dispatch(vec![id]).await);
    world.statement("DROP TRIGGER full").await;
    wire.hub.delivered(wire.connection, delivery);
    let delivered = async |node| world.invocation(id, node).await.state.delivered;
    world.until(async || delivered(agent.node).await).await;
    // What was reserved for the other is free again, and the tick uses it.
    world.hub.tick().await;
    assert_eq!(other.command(&others).await.id, id);
}
