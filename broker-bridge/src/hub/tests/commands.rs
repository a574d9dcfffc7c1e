//! The life of a command: sent, delayed, repeated, cancelled, expired.

use super::*;
use crate::store::{OutputKey, writing};
use holdfast_bridge_core::invocation::Status;

#[tokio::test]
async fn a_command_runs_and_its_result_and_output_are_kept() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    let command = agent.command(&wire).await;
    assert_eq!(
        (command.id, command.expires_unix_ms),
        (id, u64::try_from(NOW).unwrap() + 60_000)
    );
    agent.result(&wire, id, InvocationState::InProgress).await;
    let long = "ä".repeat(20_000);
    for (at, piece) in long.as_bytes().chunks(16 * 1024).enumerate() {
        agent.record(&wire, output(id, at * 16 * 1024, piece)).await;
    }
    agent.result(&wire, id, InvocationState::Success).await;

    let invocation = world.invocation(id, agent.node).await;
    assert_eq!(invocation.state.details, StatusDetails::Success);
    assert_eq!(
        (invocation.response_code(), invocation.started),
        (0, Some(NOW))
    );
    let command = world.store().command(id).await.unwrap().unwrap();
    assert_eq!(
        (command.details, command.completed_count),
        (StatusDetails::Success, 1)
    );
    let key = OutputKey {
        command: id,
        node: agent.node,
        step: 0,
        stream: OutputStream::Stdout,
    };
    let (shown, more) = world.store().output_text(key, 24_000).await.unwrap();
    assert_eq!((shown.as_str(), more), (long.as_str(), false));
    let (shown, more) = world.store().output_text(key, 100).await.unwrap();
    assert_eq!((shown.chars().count(), more), (100, true));
    let (middle, more) = world.store().output(key, 16_390, 10).await.unwrap();
    assert_eq!(
        (middle.as_slice(), more),
        (&long.as_bytes()[16_390..16_400], true)
    );
}

#[tokio::test]
async fn an_offline_node_is_delayed_and_succeeds_when_it_returns() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    assert_eq!(world.details(id, agent.node).await, StatusDetails::Delayed);
    let wire = world.online(&mut agent).await;
    assert_eq!(agent.command(&wire).await.id, id);
    agent.result(&wire, id, InvocationState::Success).await;
    world.reaches(id, agent.node, StatusDetails::Success).await;
}

#[tokio::test]
async fn a_send_that_was_not_acknowledged_is_repeated_under_the_same_id() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    // It is on the wire, and the link breaks before the agent has it.
    drop(wire.outbound().await);
    world.offline(&agent, wire).await;
    assert_eq!(world.details(id, agent.node).await, StatusDetails::Delayed);
    let wire = world.online(&mut agent).await;
    assert_eq!(agent.command(&wire).await.id, id);
    assert_eq!(
        world.details(id, agent.node).await,
        StatusDetails::InProgress
    );
}

#[tokio::test]
async fn a_bridge_that_dies_between_send_and_result_takes_the_result_once() {
    let mut world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    agent.command(&wire).await;
    agent.result(&wire, id, InvocationState::InProgress).await;
    world.restart().await;
    let wire = world.online(&mut agent).await;
    // The agent knows it by its id, and says so.
    assert_eq!(agent.command(&wire).await.id, id);
    let known = Answer::Known {
        command: id,
        state: InvocationState::InProgress,
    };
    wire.publish(Topic::Answer(agent.node), &Up::Answer(known))
        .await;
    agent.result(&wire, id, InvocationState::Success).await;
    agent.result(&wire, id, InvocationState::Failed).await;
    assert_eq!(world.details(id, agent.node).await, StatusDetails::Success);
}

#[tokio::test]
async fn a_busy_node_is_delayed_and_asked_again() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    agent.command(&wire).await;
    let busy = Answer::Busy {
        command: id,
        bound: holdfast_protocol::up::Bound::Commands(1),
    };
    wire.publish(Topic::Answer(agent.node), &Up::Answer(busy))
        .await;
    world.reaches(id, agent.node, StatusDetails::Delayed).await;
    assert_eq!(world.store().slots_held(id).await.unwrap(), 0);
    world.pass(11);
    world.hub.tick().await;
    assert_eq!(agent.command(&wire).await.id, id);
}

#[tokio::test]
async fn a_stale_counter_is_answered_by_a_frame_above_it() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    agent.command(&wire).await;
    agent.counter += 1000;
    let stale = Answer::Stale {
        command: Some(id),
        counter: agent.counter,
    };
    wire.publish(Topic::Answer(agent.node), &Up::Answer(stale))
        .await;
    assert_eq!(agent.command(&wire).await.id, id);
}

#[tokio::test]
async fn a_node_is_not_sent_a_command_of_another_for_naming_it() {
    let world = World::new().await;
    let (mut agent, other) = (world.agent(1).await, world.agent(2).await);
    let wire = world.online(&mut agent).await;
    let foreign = world.send(&[other.node], |_| {}).await.id;
    let stale = Answer::Stale {
        command: Some(foreign),
        counter: agent.counter,
    };
    wire.publish(Topic::Answer(agent.node), &Up::Answer(stale))
        .await;
    // A command of its own shows that nothing came before it.
    let own = world.send(&[agent.node], |_| {}).await.id;
    assert_eq!(agent.command(&wire).await.id, own);
}

#[tokio::test]
async fn an_answer_before_the_hello_changes_nothing() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    agent.command(&wire).await;
    let silent = world.arrive(&agent).await.unwrap();
    let busy = Answer::Busy {
        command: id,
        bound: holdfast_protocol::up::Bound::Commands(1),
    };
    let verdict = silent
        .publish(Topic::Answer(agent.node), &Up::Answer(busy))
        .await;
    assert_eq!(verdict, Verdict::Discarded);
    assert_eq!(world.store().slots_held(id).await.unwrap(), 1);
}

#[tokio::test]
async fn cancel_ends_what_waits_and_tells_the_node_of_the_rest() {
    let world = World::new().await;
    let (mut here, away) = (world.agent(1).await, world.agent(2).await);
    let wire = world.online(&mut here).await;
    let id = world.send(&[here.node, away.node], |_| {}).await.id;
    here.command(&wire).await;
    world
        .hub
        .cancel_command(world.caller(), id, vec![])
        .await
        .unwrap();
    assert_eq!(world.details(id, away.node).await, StatusDetails::Cancelled);
    assert_eq!(
        world.details(id, here.node).await,
        StatusDetails::Cancelling
    );
    let command = world.store().command(id).await.unwrap().unwrap();
    assert_eq!(command.details.status(), Status::Cancelling);
    assert!(matches!(here.next(&wire).await, Down::Cancel(cancel) if cancel.command == id));
    // The link breaks: the cancel comes again with the next hello, the command does not.
    world.offline(&here, wire).await;
    let wire = world.online(&mut here).await;
    assert!(matches!(here.next(&wire).await, Down::Cancel(cancel) if cancel.command == id));
    here.result(&wire, id, InvocationState::Cancelled).await;
    let command = world.store().command(id).await.unwrap().unwrap();
    assert_eq!(command.details, StatusDetails::Cancelled);
    let stranger = NodeId::from_random([9; 9]);
    assert!(
        world
            .hub
            .cancel_command(world.caller(), id, vec![stranger])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn what_nobody_fetched_expires_and_is_not_sent_later() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    world.pass(61);
    world.hub.tick().await;
    assert_eq!(
        world.details(id, agent.node).await,
        StatusDetails::DeliveryTimedOut
    );
    let command = world.store().command(id).await.unwrap().unwrap();
    assert_eq!(
        (command.delivery_timed_out_count, command.error_count),
        (1, 0)
    );
    let wire = world.online(&mut agent).await;
    let second = world.send(&[agent.node], |_| {}).await.id;
    assert_eq!(agent.command(&wire).await.id, second);
}

#[tokio::test]
async fn a_late_result_replaces_the_guess_once() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    let sent = wire.outbound().await;
    // The agent has it, its acknowledgement is lost with the link.
    agent.open(&sent);
    world.offline(&agent, wire).await;
    world.pass(61);
    world.hub.tick().await;
    assert_eq!(
        world.details(id, agent.node).await,
        StatusDetails::DeliveryTimedOut
    );
    assert_eq!(world.store().slots_held(id).await.unwrap(), 1);
    let wire = world.online(&mut agent).await;
    agent.result(&wire, id, InvocationState::Success).await;
    let invocation = world.invocation(id, agent.node).await;
    assert_eq!(
        (invocation.state.details, invocation.state.late),
        (StatusDetails::Success, true)
    );
    agent.result(&wire, id, InvocationState::Failed).await;
    assert_eq!(world.details(id, agent.node).await, StatusDetails::Success);
}

#[tokio::test]
async fn a_run_past_every_bound_gives_its_slot_back() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let command = world.send(&[agent.node], |_| {}).await;
    agent.command(&wire).await;
    agent
        .result(&wire, command.id, InvocationState::InProgress)
        .await;
    world.pass(61);
    world.hub.tick().await;
    assert_eq!(
        world.details(command.id, agent.node).await,
        StatusDetails::InProgress
    );
    world.pass(command.run_bound_ms / 1000);
    world.hub.tick().await;
    assert_eq!(
        world.details(command.id, agent.node).await,
        StatusDetails::ExecutionTimedOut
    );
    assert_eq!(world.store().slots_held(command.id).await.unwrap(), 0);
}

#[tokio::test]
async fn a_command_that_no_node_could_run_is_refused_and_not_stored() {
    let world = World::new().await;
    let agent = world.agent(1).await;
    let good = run_shell_script(&[agent.node]);
    let wrong: [fn(&mut SendCommand); 3] = [
        |request| request.parameters.clear(),
        |request| request.instance_ids = vec![NodeId::from_random([8; 9]).to_string()],
        |request| request.instance_ids.clear(),
    ];
    for change in wrong {
        let mut request = good.clone();
        change(&mut request);
        assert!(
            world
                .hub
                .send_command(world.caller(), request)
                .await
                .is_err()
        );
    }
    let none = world
        .store()
        .commands(&Default::default(), &crate::store::Page::first(10))
        .await;
    assert!(none.unwrap().items.is_empty());
}

#[tokio::test]
async fn output_that_overlaps_overflows_or_follows_the_result_is_not_kept() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    agent.command(&wire).await;
    agent.result(&wire, id, InvocationState::InProgress).await;
    let key = OutputKey {
        command: id,
        node: agent.node,
        step: 0,
        stream: OutputStream::Stdout,
    };
    agent.record(&wire, output(id, 0, b"first")).await;
    agent.record(&wire, output(id, 3, b"LATER")).await;
    let kept = world.store().output(key, 0, 100).await.unwrap();
    assert_eq!(kept, (b"firstTER".to_vec(), false));
    // Many pieces that begin one byte apart: without a bound on what is stored, 16 KiB each.
    for at in 0..40 {
        agent
            .record(&wire, output(id, 9 + at, &[b'x'; 16 * 1024]))
            .await;
    }
    assert_eq!(
        world.store().output_bytes(key).await.unwrap(),
        8 + 16 * 1024 + 39
    );
    agent.result(&wire, id, InvocationState::Success).await;
    agent.record(&wire, output(id, 20_000, b"after")).await;
    assert_eq!(
        world.store().output_bytes(key).await.unwrap(),
        8 + 16 * 1024 + 39
    );
}

#[tokio::test]
async fn an_unreadable_command_is_set_aside_and_the_others_go_on() {
    let mut world = World::new().await;
    let mut agent = world.agent(1).await;
    let bad = world.send(&[agent.node], |_| {}).await.id;
    let good = world.send(&[agent.node], |_| {}).await.id;
    world
        .statement("UPDATE commands SET parameters = 'x' WHERE rowid = 1")
        .await;
    let wire = world.online(&mut agent).await;
    assert_eq!(agent.command(&wire).await.id, good);
    world.reaches(bad, agent.node, StatusDetails::Failed).await;
    let command = world.store().command(bad).await.unwrap().unwrap();
    assert_eq!(command.details, StatusDetails::Failed);
    let page = crate::store::Page::first(1);
    let audit = world.store().audit(&Default::default(), &page).await;
    let audit = audit.unwrap().items;
    assert_eq!(
        (audit[0].operation.as_str(), audit[0].target.as_str()),
        ("SetCommandAside", bad.to_string().as_str())
    );
    agent.result(&wire, good, InvocationState::Success).await;
    world.offline(&agent, wire).await;
    // Neither expiry nor a start stumbles over one.
    let expiring: [CommandId; 2] = [
        world.send(&[agent.node], |_| {}).await.id,
        world.send(&[agent.node], |_| {}).await.id,
    ];
    world
        .statement("UPDATE commands SET targets = 'x' WHERE rowid = 3")
        .await;
    world.pass(61);
    world.hub.tick().await;
    let ends = [StatusDetails::Failed, StatusDetails::DeliveryTimedOut];
    for (id, end) in expiring.into_iter().zip(ends) {
        assert_eq!(world.details(id, agent.node).await, end);
    }
    let waiting = world.send(&[agent.node], |_| {}).await.id;
    world.send(&[agent.node], |_| {}).await;
    world
        .statement("UPDATE invocations SET status_details = 'x' WHERE rowid = 6")
        .await;
    world.restart().await;
    let wire = world.online(&mut agent).await;
    assert_eq!(agent.command(&wire).await.id, waiting);
}

#[tokio::test]
async fn a_whole_fleets_invocations_expire_though_one_write_ends_only_some() {
    let world = World::new().await;
    let agent = world.agent(1).await;
    let command = world.send(&[agent.node], |_| {}).await;
    let fleet = writing::<_, (), StoreError>(|connection| {
        Box::pin(async move {
            let others = "WITH RECURSIVE numbers (n) AS \
                 (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 1300) \
                 INSERT INTO invocations (command_id, node_id, ordinal, requested_ms, stage, status, status_details) \
                 SELECT command_id, printf('mi-%017x', n), n, requested_ms, stage, status, status_details \
                 FROM invocations CROSS JOIN numbers";
            sqlx::query(others).execute(connection).await?;
            Ok(())
        })
    });
    world.store().writer.write(fleet).await.unwrap();
    world.pass((command.expires - NOW) / 1000 + 1);
    world.hub.tick().await;
    let mut reads = world.store().reads.acquire().await.unwrap();
    let open = crate::store::invocations::open_of_command(&mut reads, command.id).await;
    assert_eq!(open.unwrap(), []);
    let last: NodeId = format!("mi-{:017x}", 1300).parse().unwrap();
    assert_eq!(
        world.details(command.id, last).await,
        StatusDetails::DeliveryTimedOut
    );
}
