//! What the world does for its machines: disk time, processes, deadlines.
//! Never decides what an agent should.

use super::fault::Fault;
use super::{Event, World};
use crate::Violation;
use crate::machine::{Action, Machine, Process};
use holdfast_agent_core::{Core, Input};
use holdfast_protocol::CommandId;
use holdfast_protocol::topic::Topic;
use holdfast_protocol::up::Up;

impl World {
    /// The process of a machine begins.
    pub(super) fn start(&mut self, index: usize, booted: bool) {
        let Some(machine) = self.machines.get_mut(index) else {
            return;
        };
        let started = machine.start(self.now, booted, &mut self.random);
        let node = machine.node;
        match started {
            Ok(found) => {
                self.witness.starts(node, &found);
                let actions = machine.effects();
                self.say(|| {
                    format!(
                        "{node}: the agent starts{}",
                        if booted { " with the machine" } else { "" }
                    )
                });
                self.perform(index, actions);
            }
            Err(why) => {
                // A device that fails at the start is tried again, as a service manager would.
                self.say(|| format!("{node}: the agent cannot start: {why}"));
                self.after(5_000, Event::Fault(Fault::Restart { machine: index }));
            }
        }
    }

    /// Hands an input to a machine's core, if that life of it still lasts.
    pub(super) fn input(&mut self, index: usize, life: u32, input: Input) -> Result<(), Violation> {
        let Some(machine) = self.machines.get_mut(index) else {
            return Ok(());
        };
        if machine.life != life || !machine.is_alive() {
            return Ok(());
        }
        if matches!(input, Input::Tick) {
            machine.tick_at = None;
        }
        let actions = machine.step(self.now, input);
        self.perform(index, actions);
        Ok(())
    }

    pub(super) fn process(
        &mut self,
        index: usize,
        life: u32,
        make: impl FnOnce(&mut Machine) -> Option<Input>,
    ) -> Result<(), Violation> {
        let machine = self.machines.get_mut(index);
        let Some(machine) = machine.filter(|machine| machine.life == life) else {
            return Ok(());
        };
        match make(machine) {
            Some(input) => self.input(index, life, input),
            None => Ok(()),
        }
    }

    pub(super) fn exit(
        &mut self,
        index: usize,
        life: u32,
        command: CommandId,
        code: i32,
    ) -> Result<(), Violation> {
        let machine = self
            .machines
            .get(index)
            .filter(|machine| machine.life == life);
        let Some(process) = machine.and_then(|machine| machine.processes.get(&command)) else {
            return Ok(());
        };
        if code == 194 && !process.killed {
            let (node, step) = (machine.map(|machine| machine.node), process.step);
            if let Some(node) = node {
                self.witness.asked_reboot(node, command, step);
            }
        }
        let failing = self.machines.get_mut(index).filter(|_| !self.peace);
        if let Some(writes) = failing.and_then(|machine| machine.turns_read_only.take()) {
            self.turn_read_only(index, writes);
        }
        self.process(index, life, |machine| machine.end(command, code))
    }

    pub(super) fn disk(&mut self, index: usize, life: u32) -> Result<(), Violation> {
        let machine = self.machines.get_mut(index);
        let Some(machine) = machine.filter(|machine| machine.life == life) else {
            return Ok(());
        };
        let answers = machine.disk_done();
        let delayed = machine.disk.as_ref().is_some_and(|disk| disk.is_delayed());
        if delayed {
            self.witness.disk_fails(machine.node);
        }
        if let Some(death) = machine.death.filter(|_| delayed) {
            return self.dies_writing(index, death);
        }
        for answer in answers {
            self.input(index, life, answer)?;
        }
        if delayed
            && let Some(machine) = self.machines.get_mut(index)
            && !machine.disk_busy
        {
            machine.disk_busy = true;
            let event = Event::Disk {
                machine: index,
                life,
            };
            self.after(1_000, event);
        }
        Ok(())
    }

    /// Does for a machine what its core asked for.
    fn perform(&mut self, index: usize, actions: Vec<Action>) {
        let Some((node, life)) = self.machines.get(index).map(|m| (m.node, m.life)) else {
            return;
        };
        for action in actions {
            match action {
                Action::Disk => {
                    let slow = self.machines.get(index).map(|m| m.slow_until);
                    let slow = slow.is_some_and(|until| until > self.now && !self.peace);
                    let (least, most) = if slow { (300, 4_000) } else { (1, 30) };
                    let ms = self.random.between(least, most);
                    self.after(
                        ms,
                        Event::Disk {
                            machine: index,
                            life,
                        },
                    );
                }
                Action::MakeRenewal(nonce) => {
                    let ms = self.random.between(10, 500);
                    let machine = index;
                    self.after(
                        ms,
                        Event::Renewal {
                            machine,
                            life,
                            nonce,
                        },
                    );
                }
                Action::Install(certificate) => {
                    self.say(|| format!("{node}: a certificate has come"));
                    let ms = self.random.between(10, 500);
                    let machine = index;
                    self.after(
                        ms,
                        Event::Installed {
                            machine,
                            life,
                            certificate,
                        },
                    );
                }
                Action::Connect { attempt, enrols } => {
                    let ms = self.random.between(5, 400);
                    let machine = index;
                    self.after(
                        ms,
                        Event::Connect {
                            machine,
                            life,
                            attempt,
                            enrols,
                        },
                    );
                }
                Action::Disconnect(attempt) => self.hang_up(index, attempt),
                Action::Publish {
                    topic,
                    frame,
                    acknowledged,
                } => {
                    match (topic, Up::decode(&frame)) {
                        (Topic::Answer(_), Ok(up)) => self.say(|| format!("{node} answers {up:?}")),
                        (_, Ok(Up::Hello(hello))) => {
                            self.nonces.insert(index, hello.nonce);
                            self.doze(index);
                        }
                        _ => {}
                    }
                    if let Some(machine) = self.machines.get_mut(index) {
                        self.witness.publishes(self.now, machine, topic, &frame);
                    }
                    self.publish_up(index, topic, frame, acknowledged);
                }
                Action::PubAck(delivery) => self.puback_up(index, delivery),
                Action::Begin(run) => self.begin(index, &run),
                Action::Kill(command) => {
                    if let Some(machine) = self.machines.get_mut(index)
                        && let Some(process) = machine.processes.get_mut(&command)
                    {
                        process.killed = true;
                    }
                    self.say(|| format!("{node}: a step of {command} is killed"));
                    let machine = index;
                    self.after(
                        50,
                        Event::Exit {
                            machine,
                            life,
                            command,
                            code: -1,
                        },
                    );
                }
                Action::EndRemains => {
                    // As long as a politely killed process may take.
                    let ms = self.random.between(1, 5_000);
                    let machine = index;
                    self.after(ms, Event::RemainsEnded { machine, life });
                }
                Action::Gather(what) => {
                    let ms = self.random.between(10, 3_000);
                    let machine = index;
                    self.after(
                        ms,
                        Event::Gathered {
                            machine,
                            life,
                            what,
                        },
                    );
                }
                Action::Reboot => {
                    self.after(2_000, Event::Fault(Fault::Reboot { machine: index }));
                }
            }
        }
        self.schedule_tick(index);
    }

    /// Asleep before the reply to its hello comes, if that is its lot.
    fn doze(&mut self, index: usize) {
        let (now, peace) = (self.now, self.peace);
        if let Some(machine) = self.machines.get_mut(index).filter(|_| !peace)
            && let Some(ms) = machine.dozes.take()
        {
            machine.sleep_until(now + ms);
            self.say(|| format!("machine {index} sleeps for {ms} ms"));
        }
    }

    fn schedule_tick(&mut self, index: usize) {
        let Some(machine) = self.machines.get_mut(index) else {
            return;
        };
        let Some(deadline) = machine.core.as_ref().and_then(Core::next_deadline) else {
            return;
        };
        let wait = deadline.since(machine.monotonic(self.now));
        let (at, life) = (self.now + wait.max(1), machine.life);
        if machine.tick_at.is_none_or(|planned| planned > at) {
            machine.tick_at = Some(at);
            self.at(
                at,
                Event::Tick {
                    machine: index,
                    life,
                },
            );
        }
    }

    /// A step's process begins, and will end.
    fn begin(&mut self, index: usize, run: &holdfast_agent_core::Run) {
        let (command, step) = (run.command, run.step);
        let Some(machine) = self.machines.get_mut(index) else {
            return;
        };
        let (node, life) = (machine.node, machine.life);
        let process = Process {
            step,
            killed: false,
            stdout_bytes: 0,
        };
        machine.processes.insert(command, process);
        self.summary.steps += 1;
        self.witness
            .begun(self.now, node, command, step, &self.bridge);
        let mut at = self.random.between(1, 200);
        for bytes in machine.output_sizes(&mut self.random) {
            let bytes = vec![b'x'; bytes];
            self.after(
                at,
                Event::Output {
                    machine: index,
                    life,
                    command,
                    bytes,
                },
            );
            at += self.random.between(1, 200);
        }
        // Many a script's last words are its result.
        let spreads = [40_000, 2_000, 2_000, 20];
        let spread = spreads
            .get(self.random.index(spreads.len()))
            .copied()
            .unwrap_or(2_000);
        at += self.random.between(1, spread);
        let codes = [0, 0, 0, 0, 1, 168, 169, 194];
        let code = codes
            .get(self.random.index(codes.len()))
            .copied()
            .unwrap_or(0);
        self.say(|| format!("{node}: step {step} of {command} begins, would end with {code}"));
        self.after(
            at,
            Event::Exit {
                machine: index,
                life,
                command,
                code,
            },
        );
    }
}
