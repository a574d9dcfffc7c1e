//! Gives the hub what it asks of enrolment: frames in, frames out.
//! Never answers a request that is not for its topic, nor a renewal in another node's name.

use super::Enroller;
use crate::hub::{Clock, Enrolment};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use holdfast_protocol::enrol::{Renewal, Reply, Request};
use holdfast_protocol::up::Up;
use holdfast_protocol::{FrameError, NodeId, Nonce};
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::Instrument as _;

/// An [`Enroller`] with a clock, behind the hub.
#[derive(Debug, Clone)]
pub struct Desk {
    enroller: Arc<Enroller>,
    clock: Clock,
}

impl Desk {
    /// A desk whose requests are dated by `clock`.
    #[must_use]
    pub fn new(enroller: Enroller, clock: Clock) -> Self {
        Self {
            enroller: Arc::new(enroller),
            clock,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.now()).unwrap_or(0)
    }
}

fn nonce_of(request: &Request) -> Nonce {
    match request {
        Request::Activate(activate) => activate.nonce,
        Request::Renew(renewal) => renewal.nonce,
    }
}

/// A frame is no request to enrol.
#[derive(Debug, thiserror::Error)]
enum NoRequest {
    #[error("it is not one, or not for its topic")]
    Other,
    #[error("it cannot be read")]
    Frame(#[from] FrameError),
}

/// The request of a frame, if it is one and for this topic.
fn request_of(nonce: Nonce, frame: &[u8]) -> Result<Box<Request>, NoRequest> {
    match Up::decode(frame)? {
        Up::Enrol(request) if nonce_of(&request) == nonce => Ok(request),
        Up::Enrol(_)
        | Up::Hello(_)
        | Up::Presence(_)
        | Up::Record { .. }
        | Up::Answer(_)
        | Up::Renewal(_) => Err(NoRequest::Other),
    }
}

fn log_failure(error: &dyn Error) {
    let source = error.source().map(ToString::to_string);
    tracing::error!(%error, source, "a request to enrol could not be answered");
}

impl Enrolment for Desk {
    fn enrol(
        &self,
        peer: SocketAddr,
        nonce: Nonce,
        frame: Bytes,
    ) -> BoxFuture<'static, Option<Bytes>> {
        let desk = self.clone();
        let answer = async move {
            let now = desk.now();
            let request = request_of(nonce, &frame);
            let request = request.inspect_err(|why| desk.enroller.unreadable(now, why));
            let reply = desk.enroller.answer(&*request.ok()?, now).await;
            let reply = reply.inspect_err(|error| log_failure(error)).ok()?;
            let frame = reply.to_frame().inspect_err(|error| log_failure(error));
            frame.ok().map(Bytes::from)
        };
        // Each line about it names who asked.
        Box::pin(answer.instrument(tracing::info_span!("enrol", %peer)))
    }

    fn renew(&self, node: NodeId, renewal: Renewal) -> BoxFuture<'static, Option<Reply>> {
        let desk = self.clone();
        Box::pin(async move {
            if renewal.node != node {
                tracing::warn!(node_id = %node, other = %renewal.node, "a node asks for another's certificate; not answered");
                return None;
            }
            let reply = desk.enroller.renew(&renewal, desk.now()).await;
            reply.inspect_err(|error| log_failure(error)).ok()
        })
    }
}
