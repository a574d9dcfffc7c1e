//! What is sent again: after a new connection, after a stale counter, and what never is.

use super::*;
/// Commands that run on the node when its link is lost.
async fn running(world: &World, agent: &mut Agent, wire: &Wire, count: usize) -> Vec<CommandId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let id = world.send(&[agent.node], |_| {}).await.id;
        assert_eq!(agent.command(wire).await.id, id);
        agent.result(wire, id, InvocationState::InProgress).await;
        ids.push(id);
    }
    ids
}

#[tokio::test]
async fn all_that_was_sent_is_sent_again_however_much_it_is() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let mut ids = running(&world, &mut agent, &wire, 7).await;
    // One more is on the wire when the link breaks, and one is asked for meanwhile.
    ids.push(world.send(&[agent.node], |_| {}).await.id);
    agent.unacknowledged(&wire).await;
    world.offline(&agent, wire).await;
    ids.push(world.send(&[agent.node], |_| {}).await.id);
    let wire = world.online(&mut agent).await;
    let mut came = Vec::new();
    for _ in &ids {
        came.push(agent.command(&wire).await.id);
    }
    came.sort();
    ids.sort();
    assert_eq!(came, ids);
}

/// Another command shows that nothing is on the wire before it.
async fn nothing_came(world: &World, agent: &mut Agent, wire: &Wire) {
    let next = world.send(&[agent.node], |_| {}).await.id;
    assert_eq!(agent.command(wire).await.id, next);
}

#[tokio::test]
async fn a_delivered_command_is_not_sent_to_a_new_life_of_the_outbox() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    running(&world, &mut agent, &wire, 1).await;
    world.offline(&agent, wire).await;
    agent.outbox = OutboxId(99);
    agent.heads = Default::default();
    let wire = world.online(&mut agent).await;
    nothing_came(&world, &mut agent, &wire).await;
}

#[tokio::test]
async fn what_has_expired_is_not_sent_again_and_its_result_still_counts() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = running(&world, &mut agent, &wire, 1).await[0];
    world.offline(&agent, wire).await;
    world.pass(61);
    let wire = world.online(&mut agent).await;
    nothing_came(&world, &mut agent, &wire).await;
    agent.result(&wire, id, InvocationState::Success).await;
    assert_eq!(world.details(id, agent.node).await, StatusDetails::Success);
}

#[tokio::test]
async fn what_was_asked_for_at_a_time_to_come_waits_for_it() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let sent = running(&world, &mut agent, &wire, 1).await[0];
    world.offline(&agent, wire).await;
    let unsent = world.send(&[agent.node], |_| {}).await.id;
    // The clock was ahead, and is set back.
    world.pass(-3600);
    let wire = world.online(&mut agent).await;
    nothing_came(&world, &mut agent, &wire).await;
    world.hub.tick().await;
    nothing_came(&world, &mut agent, &wire).await;
    // It is set right, and the node stays connected.
    world.pass(3600);
    world.hub.tick().await;
    let mut came = [agent.command(&wire).await.id, agent.command(&wire).await.id];
    came.sort();
    let mut ids = [sent, unsent];
    ids.sort();
    assert_eq!(came, ids);
}
