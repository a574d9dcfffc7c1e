//! The order in which results arrive, held against the order in which they were queued.
//! Never asserts how long that takes.

use holdfast_e2e::commands::{self, text};
use holdfast_e2e::{PATIENCE, World, say, until};
use serde_json::Value;
use std::collections::BTreeMap;

/// Watches the results come. A sweep reads the newest results first, so that what it reads later is
/// at least as new: it must never find a result open that was queued before one it found arrived.
pub(crate) fn until_drained(world: &World, commands: &[String], ran: &[String]) {
    let place: BTreeMap<&str, usize> = ran
        .iter()
        .enumerate()
        .map(|(place, number)| (commands[number.parse::<usize>().unwrap()].as_str(), place))
        .collect();
    let mut sweeps = 0;
    until("every result has arrived", PATIENCE * 60, || {
        sweeps += 1;
        let mut newest_arrived = None;
        let mut arrived = 0;
        for invocation in commands::invocations(&world.api, &Value::Null)? {
            let Some(place) = place.get(text(&invocation, "CommandId")) else {
                continue;
            };
            let status = text(&invocation, "Status");
            if commands::is_terminal(status) {
                assert_eq!(status, "Success", "{invocation}");
                arrived += 1;
                newest_arrived = newest_arrived.max(Some(*place));
            } else {
                assert!(
                    newest_arrived.is_none_or(|newest| newest < *place),
                    "result {place} is not here, but {newest_arrived:?} is"
                );
            }
        }
        Ok((arrived == commands.len()).then_some(()))
    })
    .unwrap();
    say(format!(
        "order checked in {sweeps} sweeps while results arrived"
    ));
}
