//! Ingest: once each, in order, acknowledged after the commit; reports and what follows of them.

use super::*;
use crate::store::Page;
use holdfast_protocol::report::{Cell, Content, Report, Row, Table};
use holdfast_protocol::up::{Event, Gap, GapReason};

fn log(detail: &str) -> Record {
    let name = "line".try_into().unwrap();
    Record::Log(Event {
        stamp: Agent::stamp(),
        name,
        detail: text(detail),
    })
}

async fn lines(world: &World, agent: &Agent) -> Vec<String> {
    let events = world
        .store()
        .node_events(agent.node, &Page::first(100))
        .await
        .unwrap()
        .items;
    events.into_iter().rev().map(|event| event.detail).collect()
}

async fn ack(agent: &mut Agent, wire: &Wire) -> [u64; 4] {
    let Down::Ack(ack) = agent.next(wire).await else {
        panic!("not an acknowledgement");
    };
    ack.acks
}

#[tokio::test]
async fn repeats_change_nothing_and_a_hole_asks_for_what_is_missing() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    agent.put(&wire, Class::Log, 1, log("a")).await;
    assert_eq!(ack(&mut agent, &wire).await, [0, 0, 0, 1]);
    agent.put(&wire, Class::Log, 3, log("c")).await;
    assert_eq!(ack(&mut agent, &wire).await, [0, 0, 0, 1]);
    agent.put(&wire, Class::Log, 1, log("a")).await;
    assert_eq!(ack(&mut agent, &wire).await, [0, 0, 0, 1]);
    agent.put(&wire, Class::Log, 2, log("b")).await;
    assert_eq!(ack(&mut agent, &wire).await, [0, 0, 0, 2]);
    assert_eq!(lines(&world, &agent).await, ["a", "b"]);
}

#[tokio::test]
async fn a_gap_is_counted_and_the_stream_goes_on_after_it() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    agent.put(&wire, Class::Log, 1, log("a")).await;
    let gap = Record::Gap(Gap {
        first: 2,
        reason: GapReason::Evicted,
    });
    agent.put(&wire, Class::Log, 9, gap).await;
    agent.put(&wire, Class::Log, 10, log("j")).await;
    assert_eq!(lines(&world, &agent).await, ["a", "j"]);
    let gaps = world.store().gaps(agent.node).await.unwrap();
    assert_eq!(gaps.len(), 1);
    assert_eq!(
        (gaps[0].reason.as_str(), gaps[0].gaps, gaps[0].records),
        ("evicted", 1, 8)
    );
}

#[tokio::test]
async fn records_before_a_hello_or_of_another_outbox_are_not_taken() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.arrive(&agent).await.unwrap();
    assert_eq!(
        agent.put(&wire, Class::Log, 1, log("a")).await,
        Verdict::Discarded
    );
    agent.greet(&wire).await;
    let mut other = agent.clone();
    other.outbox = OutboxId(77);
    assert_eq!(
        other.put(&wire, Class::Log, 1, log("a")).await,
        Verdict::Discarded
    );
    assert_eq!(
        agent.put(&wire, Class::Audit, 1, log("a")).await,
        Verdict::Discarded
    );
    assert!(lines(&world, &agent).await.is_empty());
}

#[tokio::test]
async fn hello_tells_what_was_applied_of_each_life_of_the_outbox() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    agent.record(&wire, log("a")).await;
    agent.record(&wire, log("b")).await;
    world.offline(&agent, wire).await;
    let wire = world.arrive(&agent).await.unwrap();
    let reply = agent.greet(&wire).await;
    assert_eq!(reply.acks, [0, 0, 0, 2]);
    agent.token = Some(reply.token);
    world.offline(&agent, wire).await;
    agent.outbox = OutboxId(u64::MAX);
    agent.heads = Default::default();
    let wire = world.arrive(&agent).await.unwrap();
    assert_eq!(agent.greet(&wire).await.acks, [0; 4]);
    agent.record(&wire, log("c")).await;
    assert_eq!(lines(&world, &agent).await, ["a", "b", "c"]);
}

#[tokio::test]
async fn five_hundred_records_at_once_arrive_once_and_in_order() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let mut waiting = Vec::new();
    for sequence in 1..=500_u64 {
        let record = Box::new(log(&sequence.to_string()));
        let up = Up::Record {
            outbox: agent.outbox,
            sequence,
            record,
        };
        let topic = Topic::Stream(agent.node, Class::Log);
        waiting.push(
            wire.hub
                .publish(wire.connection, topic, &up.encode().unwrap()),
        );
    }
    for answer in waiting {
        assert_eq!(soon(answer).await.unwrap(), Verdict::Accepted);
    }
    let mut acks = 0;
    while ack(&mut agent, &wire).await[3] < 500 {
        acks += 1;
    }
    assert!(acks < 100, "{acks} acknowledgements for 500 records");
    let heads = world
        .store()
        .stream_heads(agent.node, agent.outbox)
        .await
        .unwrap();
    assert_eq!(heads, [0, 0, 0, 500]);
    let newest = lines(&world, &agent).await;
    let expected: Vec<_> = (401..=500).map(|n: u64| n.to_string()).collect();
    assert_eq!(newest, expected);
}

fn table(columns: &[&str], rows: &[&[&str]]) -> Table {
    let row = |cells: &&[&str]| {
        Row::new(cells.iter().map(|cell| Cell::new(*cell).unwrap()).collect()).unwrap()
    };
    Table::new(1, columns, rows.iter().map(row).collect()).unwrap()
}

fn report(name: &str, content: Content) -> Record {
    let type_name = name.try_into().unwrap();
    Record::Report(Report {
        type_name,
        captured: Agent::stamp(),
        content,
    })
}

#[tokio::test]
async fn a_delta_without_its_base_asks_for_the_whole_now_and_at_hello() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let name = "AWS:Application";
    let (one, two) = (
        table(&["Name"], &[&["a"]]),
        table(&["Name"], &[&["a"], &["b"]]),
    );
    let delta = Content::Delta(two.delta_from(&one).unwrap());
    agent.record(&wire, report(name, delta.clone())).await;
    ack(&mut agent, &wire).await;
    let Down::Resync(resync) = agent.next(&wire).await else {
        panic!("no resync")
    };
    assert_eq!(resync.reports[0], name);
    world.offline(&agent, wire).await;
    let wire = world.arrive(&agent).await.unwrap();
    let reply = agent.greet(&wire).await;
    assert_eq!(
        reply
            .resync
            .iter()
            .map(|name| name.as_str())
            .collect::<Vec<_>>(),
        [name]
    );
    agent.record(&wire, report(name, Content::Whole(one))).await;
    agent.record(&wire, report(name, delta)).await;
    let stored = world
        .store()
        .report(agent.node, name)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(stored.table, two);
    let found = world.store().reporting_nodes("", 10).await.unwrap();
    assert_eq!(found, [agent.node]);
}

#[tokio::test]
async fn hello_asks_for_reports_whose_base_is_not_here() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    agent.bases = vec![("AWS:Service".try_into().unwrap(), [1; 8])];
    let wire = world.arrive(&agent).await.unwrap();
    assert_eq!(agent.greet(&wire).await.resync.len(), 1);
}

#[tokio::test]
async fn a_scan_becomes_patch_state_and_compliance() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let summary = table(
        &[
            "BaselineId",
            "PatchGroup",
            "Operation",
            "MissingCount",
            "InstalledCount",
        ],
        &[&["pb-1", "tills", "Scan", "1", "1"]],
    );
    let states = table(
        &["Title", "Severity", "State"],
        &[
            &["bash", "Important", "MISSING"],
            &["zsh", "Low", "INSTALLED"],
        ],
    );
    agent
        .record(&wire, report("AWS:PatchSummary", Content::Whole(summary)))
        .await;
    agent
        .record(&wire, report("AWS:PatchState", Content::Whole(states)))
        .await;
    let page = Page::first(10);
    let patched = world
        .store()
        .patch_states(&[], &["tills".into()], &page)
        .await
        .unwrap()
        .items;
    assert_eq!((patched.len(), patched[0].summary.missing), (1, 1));
    let (_, items, _) = world
        .store()
        .compliance_items(agent.node)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(items.iter().filter(|item| !item.compliant).count(), 1);
    let compliance = world.store().compliance_rows(None, 10).await.unwrap();
    assert_eq!(compliance[0].summary.non_compliant.high, 1);
    assert!(!compliance[0].summary.is_compliant());
}

#[tokio::test]
async fn a_node_keeps_no_more_types_of_reports_than_a_hello_can_name() {
    let world = World::new().await;
    let mut agent = world.agent(1).await;
    let wire = world.online(&mut agent).await;
    let mut kept = 0;
    for n in 0..40 {
        let whole = Content::Whole(table(&["Name"], &[&["a"]]));
        let name = format!("Custom:{n}");
        agent.record(&wire, report(&name, whole)).await;
        let stored = world.store().report(agent.node, &name).await.unwrap();
        kept += usize::from(stored.is_some());
    }
    assert_eq!(kept, 32);
}

#[tokio::test]
async fn a_record_that_cannot_be_stored_holds_up_no_other_node() {
    let world = World::new().await;
    let (mut bad, mut good) = (world.agent(1).await, world.agent(2).await);
    let (to_bad, to_good) = (world.online(&mut bad).await, world.online(&mut good).await);
    let url = format!("sqlite://{}/holdfast.db", world.state().display());
    let mut database = <sqlx::SqliteConnection as sqlx::Connection>::connect(&url)
        .await
        .unwrap();
    sqlx::query(
        "CREATE TRIGGER refuse BEFORE INSERT ON node_events WHEN NEW.detail = 'bad' \
         BEGIN SELECT RAISE(ABORT, 'refused'); END",
    )
    .execute(&mut database)
    .await
    .unwrap();
    let verdicts = tokio::join!(
        bad.put(&to_bad, Class::Log, 1, log("bad")),
        good.put(&to_good, Class::Log, 1, log("good")),
    );
    assert_eq!(
        verdicts,
        (
            Verdict::Close(crate::mqtt::CloseReason::Store),
            Verdict::Accepted
        )
    );
    assert_eq!(lines(&world, &good).await, ["good"]);
    assert!(lines(&world, &bad).await.is_empty());
}
