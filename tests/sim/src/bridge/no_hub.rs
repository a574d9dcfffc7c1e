//! Stands where the real hub would, in a build without it. Never exists.

use super::{Bridge, Out};
use holdfast_bridge_core::rate::Limits;
use holdfast_protocol::seal::{PublicKey, Sealer};
use holdfast_protocol::{CommandId, NodeId};
use std::convert::Infallible;

/// No hub.
#[derive(Debug)]
pub(crate) struct Real(Infallible);

impl Real {
    pub(super) fn die(&mut self) {
        match self.0 {}
    }

    pub(super) fn tick(&mut self) -> Result<(), String> {
        match self.0 {}
    }

    pub(super) fn disconnect(&mut self, _: u64) -> Result<(), String> {
        match self.0 {}
    }

    pub(super) fn awaits(&self, _: u64, _: u16) -> Option<CommandId> {
        match self.0 {}
    }

    pub(super) fn cancel(&mut self, _: CommandId) -> Result<(), String> {
        match self.0 {}
    }

    pub(super) fn rotate(&mut self, _: Sealer) -> Result<(), String> {
        match self.0 {}
    }

    pub(super) fn release(&mut self, _: &[NodeId]) -> Result<(), String> {
        match self.0 {}
    }

    pub(super) fn reset_floors(&mut self, _: &[NodeId]) -> Result<(), String> {
        match self.0 {}
    }
}

impl Bridge {
    /// Never becomes real.
    pub(crate) fn make_real(
        &mut self,
        _seed: u64,
        _root: (Sealer, PublicKey),
        _sealer: Sealer,
        _nodes: &[(NodeId, PublicKey)],
    ) -> Result<(), String> {
        Ok(())
    }

    pub(crate) fn is_real(&self) -> bool {
        false
    }

    pub(super) fn commit_real(&mut self, _now: u64) -> Vec<Out> {
        Vec::new()
    }

    pub(super) fn ask_real(
        &mut self,
        _now: u64,
        _ask: impl FnOnce(&mut Real) -> Result<(), String>,
    ) -> Vec<Out> {
        Vec::new()
    }

    pub(crate) fn arrives(&mut self, _: u64, _: u64, _: NodeId, _: PublicKey) -> bool {
        true
    }

    pub(crate) fn submit_real(
        &mut self,
        _now: u64,
        _nodes: &[NodeId],
        _limits: Limits,
        _seconds: u32,
    ) -> (Option<CommandId>, Vec<Out>) {
        (None, Vec::new())
    }

    pub(crate) fn back_up_real(&mut self) {}

    pub(crate) fn start_real(&mut self, _now: u64, _restored: bool) {}

    pub(crate) fn look_closely(&mut self) {}
}
