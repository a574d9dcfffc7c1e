//! Rate control over many nodes.

use super::*;

#[tokio::test]
async fn one_slot_over_twenty_nodes_never_overlaps() {
    let world = World::new().await;
    let mut agents = Vec::new();
    for n in 1..=20 {
        let mut agent = world.agent(n).await;
        let wire = world.online(&mut agent).await;
        agents.push((agent, wire));
    }
    let nodes: Vec<_> = agents.iter().map(|(agent, _)| agent.node).collect();
    let id = world
        .send(&nodes, |request| {
            request.max_concurrency = "1".parse().unwrap()
        })
        .await
        .id;
    for (agent, wire) in &mut agents {
        // The order of the nodes is that of their ids, so the next one is known.
        assert_eq!(agent.command(wire).await.id, id);
        assert_eq!(world.store().slots_held(id).await.unwrap(), 1);
        agent.result(wire, id, InvocationState::Success).await;
    }
    let command = world.store().command(id).await.unwrap().unwrap();
    assert_eq!(
        (command.details, command.completed_count),
        (StatusDetails::Success, 20)
    );
}

#[tokio::test]
async fn errors_over_their_bound_terminate_the_rest() {
    let world = World::new().await;
    let mut agents = Vec::new();
    for n in 1..=4 {
        let mut agent = world.agent(n).await;
        let wire = world.online(&mut agent).await;
        agents.push((agent, wire));
    }
    let nodes: Vec<_> = agents.iter().map(|(agent, _)| agent.node).collect();
    let id = world
        .send(&nodes, |request| {
            request.max_concurrency = "1".parse().unwrap()
        })
        .await
        .id;
    let (agent, wire) = &mut agents[0];
    agent.command(wire).await;
    agent.result(wire, id, InvocationState::Failed).await;
    for node in &nodes[1..] {
        world.reaches(id, *node, StatusDetails::Terminated).await;
    }
    let command = world.store().command(id).await.unwrap().unwrap();
    assert_eq!(
        (command.details, command.error_count),
        (StatusDetails::Failed, 1)
    );
    assert_eq!(command.completed_count, 4);
}

#[tokio::test]
async fn a_node_that_is_away_holds_no_slot() {
    let world = World::new().await;
    let (away, mut here) = (world.agent(1).await, world.agent(2).await);
    let wire = world.online(&mut here).await;
    let nodes = [away.node, here.node];
    let id = world
        .send(&nodes, |request| {
            request.max_concurrency = "1".parse().unwrap()
        })
        .await
        .id;
    assert_eq!(here.command(&wire).await.id, id);
}

#[tokio::test]
async fn many_commands_reach_a_node_though_few_are_on_the_wire_at_once() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let mut wanted = std::collections::BTreeSet::new();
    for _ in 0..20 {
        wanted.insert(world.send(&[agent.node], |_| {}).await.id);
    }
    let wire = world.online(&mut agent).await;
    while !wanted.is_empty() {
        let id = agent.command(&wire).await.id;
        assert!(wanted.remove(&id), "sent twice on one connection");
    }
}

#[tokio::test]
async fn targets_by_tag_name_the_nodes_that_carry_it() {
    let world = World::new().await;
    let agent = world.agent(1).await;
    let by = |value: &str| vec![("tag:env".to_owned(), vec![value.to_owned()])];
    let hit = world
        .send(&[], |request| request.targets = by("test"))
        .await;
    assert_eq!(hit.target_count, 1);
    assert_eq!(
        world.details(hit.id, agent.node).await,
        StatusDetails::Delayed
    );
    let none = world
        .send(&[], |request| request.targets = by("prod"))
        .await;
    assert_eq!(
        (none.target_count, none.details),
        (0, StatusDetails::NoInstancesInTag)
    );
}

#[tokio::test]
async fn a_slot_that_comes_free_while_the_clock_is_set_back_is_used_once_it_is_right() {
    let world = World::new().await;
    let (mut first, mut second) = (world.agent(1).await, world.agent(2).await);
    let (one, two) = (
        world.online(&mut first).await,
        world.online(&mut second).await,
    );
    let nodes = [first.node, second.node];
    let id = world
        .send(&nodes, |request| {
            request.max_concurrency = "1".parse().unwrap()
        })
        .await
        .id;
    assert_eq!(first.command(&one).await.id, id);
    world.pass(-300);
    first.result(&one, id, InvocationState::Success).await;
    world.hub.tick().await;
    assert_eq!(world.store().slots_held(id).await.unwrap(), 0);
    world.pass(300);
    world.hub.tick().await;
    assert_eq!(second.command(&two).await.id, id);
}

/// Otherwise as many as one tick looks at, all of them held, would keep the others from being seen.
#[tokio::test]
async fn what_is_due_and_held_for_want_of_a_slot_is_looked_at_once() {
    let world = World::new().await;
    let (mut first, mut second) = (world.agent(1).await, world.agent(2).await);
    let one = world.online(&mut first).await;
    let _two = world.online(&mut second).await;
    let nodes = [first.node, second.node];
    let id = world
        .send(&nodes, |request| {
            request.max_concurrency = "1".parse().unwrap()
        })
        .await
        .id;
    first.command(&one).await;
    world
        .statement("UPDATE invocations SET retry_ms = 1 WHERE stage = 0")
        .await;
    let due = async || {
        let mut reads = world.store().reads.acquire().await.unwrap();
        let due = crate::store::invocations::to_retry(&mut reads, NOW, 64).await;
        due.unwrap()
    };
    assert_eq!(due().await, [id]);
    world.hub.tick().await;
    world.until(async || due().await.is_empty()).await;
}

/// Otherwise each result of the node would have it looked at, withheld and warned of anew.
#[tokio::test]
async fn a_result_makes_nothing_due_that_waits_for_the_clock() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    world.send(&[agent.node], |_| {}).await;
    world.pass(-3600);
    let wire = world.online(&mut agent).await;
    let other = world.send(&[agent.node], |_| {}).await.id;
    assert_eq!(agent.command(&wire).await.id, other);
    agent.result(&wire, other, InvocationState::Success).await;
    let mut reads = world.store().reads.acquire().await.unwrap();
    let due = crate::store::invocations::to_retry(&mut reads, NOW - 3_600_000, 64).await;
    assert_eq!(due.unwrap(), []);
}

/// A command that its node is too busy for, by a clock that is 40 s ahead.
async fn busy_ahead(world: &World, agent: &mut Agent) -> (Wire, CommandId) {
    let wire = world.online(agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    agent.command(&wire).await;
    world.pass(50);
    let busy = Answer::Busy {
        command: id,
        bound: holdfast_protocol::up::Bound::Commands(1),
    };
    wire.publish(Topic::Answer(agent.node), &Up::Answer(busy))
        .await;
    world.hub.tick().await;
    world.pass(-40);
    (wire, id)
}

#[tokio::test]
async fn a_busy_node_is_not_left_alone_until_a_clock_that_was_set_back_is_what_it_was() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let (wire, id) = busy_ahead(&world, &mut agent).await;
    world.hub.tick().await;
    assert_eq!(agent.command(&wire).await.id, id);
}

#[tokio::test]
async fn nor_is_it_by_a_bridge_that_starts_with_the_clock_set_back() {
    let mut world = World::new().await;
    let mut agent = world.agent(1).await;
    let (wire, id) = busy_ahead(&world, &mut agent).await;
    world.restart().await;
    drop(wire);
    let wire = world.online(&mut agent).await;
    assert_eq!(agent.command(&wire).await.id, id);
}
