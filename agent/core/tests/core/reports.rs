//! Reports: when they are gathered, whole or delta, and what waits for them.

use crate::harness::{Node, command, document, id, type_name};
use holdfast_agent_core::{Effect, Gathering, Input};
use holdfast_protocol::bounded::List;
use holdfast_protocol::down::{Down, Resync};
use holdfast_protocol::limits::REVISION;
use holdfast_protocol::report::{Cell, Content, Row, Table};
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::{Class, Record, Up};

fn table(rows: &[(&str, &str)]) -> Table {
    let row = |(name, version): &(&str, &str)| {
        Row::new(vec![Cell::cut(name), Cell::cut(version)]).unwrap()
    };
    Table::new(1, &["Name", "Version"], rows.iter().map(row).collect()).unwrap()
}

pub(crate) fn report(node: &mut Node, rows: &[(&str, &str)]) {
    node.step(Input::Reported {
        origin: None,
        type_name: type_name("AWS:Application"),
        table: table(rows),
    });
}

fn contents(node: &Node) -> Vec<Content> {
    let content = |record| match record {
        Record::Report(report) => report.content,
        other => panic!("{other:?}"),
    };
    node.disk
        .records(Class::State)
        .into_iter()
        .map(content)
        .collect()
}

#[test]
fn a_bridge_that_reads_only_an_older_revision_is_written_to_in_it() {
    for revision in [REVISION, 1] {
        let mut node = Node::new();
        node.revision = revision;
        // On disk before anyone knows who will read it.
        report(&mut node, &[("a", "1")]);
        node.connect();
        node.accept_hello([0; 4]);
        let is_report = |(_, up): &(Topic, Up)| matches!(up, Up::Record { record, .. } if matches!(**record, Record::Report(_)));
        let at = node.sent.iter().position(is_report).unwrap();
        assert_eq!(node.written_as[at], revision);
        assert_eq!(node.written_as[0], 1, "a hello is what it always was");
    }
}

#[test]
fn a_report_is_whole_until_acknowledged_then_a_delta_or_unchanged() {
    let mut node = Node::online();
    let (old, new) = (&[("a", "1"), ("b", "1")], &[("a", "2"), ("b", "1")]);
    report(&mut node, old);
    report(&mut node, old);
    node.acknowledge();
    report(&mut node, old);
    report(&mut node, new);
    let found = contents(&node);
    assert_eq!(
        found[..2],
        [Content::Whole(table(old)), Content::Whole(table(old))]
    );
    assert_eq!(found[2], Content::Unchanged(table(old).hash()));
    let Content::Delta(delta) = &found[3] else {
        panic!("{:?}", found[3]);
    };
    assert_eq!(table(old).apply(delta), Ok(table(new)));
}

#[test]
fn bases_outlive_the_process_and_the_bridge_can_ask_for_the_whole() {
    let mut node = Node::online();
    report(&mut node, &[("a", "1")]);
    node.acknowledge();
    node.crash(true);
    let bases = node.connect().bases.into_vec();
    assert_eq!(
        bases,
        [(type_name("AWS:Application"), table(&[("a", "1")]).hash())]
    );
    node.accept_hello(node.disk.released);
    let reports = List::new(vec![type_name("AWS:Application")]).unwrap();
    node.receive(&Down::Resync(Resync { reports }));
    assert_eq!(
        contents(&node).last(),
        Some(&Content::Whole(table(&[("a", "1")])))
    );
    report(&mut node, &[("a", "2")]);
    assert_eq!(
        contents(&node).last(),
        Some(&Content::Whole(table(&[("a", "2")])))
    );
}

#[test]
fn a_step_ends_only_after_what_it_reported_is_durable() {
    let mut node = Node::online();
    node.send_command(command(1, &document(&[""])));
    node.hold = true;
    node.step(Input::Reported {
        origin: Some(id(1)),
        type_name: type_name("AWS:Application"),
        table: table(&[("a", "1")]),
    });
    node.end(1, 0, 0);
    assert_eq!(node.writes.len(), 1, "only the report is being written");
    node.let_go();
    let topics = node.sent.iter().filter_map(|(topic, _)| match topic {
        Topic::Stream(_, class) => Some(*class),
        _ => None,
    });
    assert_eq!(
        topics.collect::<Vec<_>>(),
        [Class::Audit, Class::Result, Class::State, Class::Result]
    );
    assert_eq!(node.states(1).len(), 2);
}

#[test]
fn inventory_and_patch_scan_run_from_the_start_and_offline() {
    let mut node = Node::new();
    let count = |node: &Node, what| {
        node.seen
            .iter()
            .filter(|effect| **effect == Effect::Gather(what))
            .count()
    };
    node.wait(10_000);
    assert_eq!(
        (
            count(&node, Gathering::Inventory),
            count(&node, Gathering::Patches)
        ),
        (1, 1)
    );
    node.wait(3_000_000);
    assert_eq!(count(&node, Gathering::Inventory), 1, "never twice at once");
    for _ in 0..4 {
        node.step(Input::Gathered {
            what: Gathering::Inventory,
            fault: None,
        });
        node.wait(1_800_000);
    }
    assert!((4..=6).contains(&count(&node, Gathering::Inventory)));
    assert_eq!(count(&node, Gathering::Patches), 1);
}
