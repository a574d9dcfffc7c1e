//! What is asked for between the moment a hello is stored and the moment its session begins.

use super::*;
use futures_util::FutureExt as _;
use std::pin::pin;

/// The node's hello is stored, and its session does not begin before `meanwhile` is over.
async fn greeted_after(
    world: &World,
    agent: &mut Agent,
    meanwhile: impl AsyncFnOnce() -> CommandId,
) -> (Wire, CommandId) {
    let wire = world.arrive(agent).await.unwrap();
    let session = world.hub.shared.sessions.of(wire.connection).unwrap();
    let mut hello = pin!(world.hub.hello(session, Box::new(agent.hello())));
    assert!(hello.as_mut().now_or_never().is_none());
    world
        .until(async || {
            let node = world.store().node(agent.node).await.unwrap().unwrap();
            node.connectivity == crate::store::Connectivity::Online
        })
        .await;
    let id = meanwhile().await;
    // It is looked at, by the hub's own task too: that one's write is before this statement.
    assert!(world.hub.dispatch(vec![id]).await);
    world.statement("SELECT 1").await;
    assert_eq!(soon(hello).await, Verdict::Accepted);
    assert!(matches!(agent.next(&wire).await, Down::HelloReply(_)));
    (wire, id)
}

#[tokio::test]
async fn a_command_that_is_stored_while_a_hello_is_answered_is_sent() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let node = agent.node;
    let send = async || world.send(&[node], |_| {}).await.id;
    let (wire, id) = greeted_after(&world, &mut agent, send).await;
    assert_eq!(agent.command(&wire).await.id, id);
}

#[tokio::test]
async fn a_cancel_that_is_stored_while_a_hello_is_answered_is_told() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let id = world.send(&[agent.node], |_| {}).await.id;
    agent.command(&wire).await;
    world.offline(&agent, wire).await;
    let cancel = async || {
        let cancel = world.hub.cancel_command(world.caller(), id, vec![]);
        cancel.await.unwrap();
        id
    };
    let (wire, id) = greeted_after(&world, &mut agent, cancel).await;
    assert!(matches!(agent.next(&wire).await, Down::Cancel(cancel) if cancel.command == id));
}
