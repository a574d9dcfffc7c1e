//! A caller of the router that signs as a client does, apart from the bridge's own verification.

use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, Request};
use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit as _, Mac as _};
use holdfast_aws_api::arn::Account;
use holdfast_aws_api::model::check_reply;
use holdfast_bridge_core::retention::Retention;
use holdfast_protocol::enrol::{Renewal, Reply};
use holdfast_protocol::seal::Sealer;
use holdfast_protocol::{NodeId, Nonce};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use ring::rand::SystemRandom;
use ring::signature::Ed25519KeyPair;
use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::api::{Api, Config, router};
use crate::hub::{Clock, Enrolment, Hub, Options, Randomness, Sealers, Ticks};
use crate::store::{AccessKey, Caller, Store};

pub(super) const KEY_ID: &str = "AKIAHOLDFAST0000TEST";
pub(super) const SECRET: &str = "a secret for tests";
pub(super) const REGION: &str = "eu-central-1";
pub(super) const ACCOUNT: &str = "123456789012";
pub(super) const HOST: &str = "bridge.example:8080";
/// 2026-01-15T12:00:00Z, at which the test's clock stands.
pub(super) const NOW_MS: i64 = 1_768_478_400_000;

pub(super) fn now() -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(NOW_MS).unwrap()
}

/// A bridge's API over a database of its own, and a client with a key.
pub(super) struct Fixture {
    pub(super) store: Store,
    routes: axum::Router,
    dir: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Vec<u8>,
}

impl Answer {
    pub(super) fn json(&self) -> Json {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    pub(super) fn code(&self) -> String {
        let body = self.json();
        let code = body["__type"].as_str().unwrap_or_default().to_owned();
        assert_eq!(self.headers["x-amzn-errortype"], code.as_str());
        code
    }
}

impl Fixture {
    pub(super) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let store = Store::open(dir.path()).await.unwrap();
        store
            .add_access_key(Caller::local(NOW_MS), access_key())
            .await
            .unwrap();
        Self::over(store, dir).await
    }

    /// A new API over the same database.
    pub(super) async fn restarted(self) -> Self {
        Self::over(self.store, self.dir).await
    }

    async fn over(store: Store, dir: TempDir) -> Self {
        let hub = hub(store.clone()).await;
        let config = Config {
            scheme: "http",
            account: Account::new("aws", ACCOUNT).unwrap(),
        };
        let api = Api::start(hub.clone(), config).await.unwrap();
        Self {
            store,
            routes: router(api),
            dir,
        }
    }

    /// Calls an operation that must succeed with a reply that the model allows.
    pub(super) async fn ok(&self, operation: &str, request: &Json) -> Json {
        let answer = self.call(operation, request).await;
        let body = answer.json();
        assert_eq!(answer.status, 200, "{operation} {request}: {body}");
        check_reply(operation, &body).unwrap();
        body
    }

    /// Calls an operation that must be refused, and gives the error's code.
    pub(super) async fn refused(&self, operation: &str, request: &Json) -> String {
        let answer = self.call(operation, request).await;
        assert_eq!(
            answer.status,
            400,
            "{operation} {request}: {}",
            answer.json()
        );
        answer.code()
    }

    pub(super) async fn call(&self, operation: &str, request: &Json) -> Answer {
        let signer = Signer::post(operation, request.to_string().into_bytes());
        self.send(signer.signed()).await
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Answer {
        let response = TowerToHyperService::new(self.routes.clone())
            .call(request)
            .await;
        let (head, body) = response.unwrap().into_parts();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            bytes: to_bytes(body, 16 << 20).await.unwrap().to_vec(),
        }
    }
}

pub(super) fn access_key() -> AccessKey {
    AccessKey {
        access_key_id: KEY_ID.to_owned(),
        secret: SECRET.to_owned(),
        name: "tests".to_owned(),
        created: NOW_MS,
        disabled: None,
    }
}

/// A request to be signed.
#[derive(Clone)]
pub(super) struct Signer {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) target: Option<String>,
    pub(super) body: Vec<u8>,
    pub(super) key_id: String,
    pub(super) secret: String,
    pub(super) service: &'static str,
    pub(super) at: jiff::Timestamp,
}

impl Signer {
    pub(super) fn post(operation: &str, body: Vec<u8>) -> Self {
        Self {
            method: "POST",
            path: "/".to_owned(),
            target: Some(format!("AmazonSSM.{operation}")),
            body,
            key_id: KEY_ID.to_owned(),
            secret: SECRET.to_owned(),
            service: "ssm",
            at: now(),
        }
    }

    pub(super) fn get(path: &str) -> Self {
        Self {
            method: "GET",
            path: path.to_owned(),
            target: None,
            ..Self::post("", Vec::new())
        }
    }

    pub(super) fn signed(&self) -> Request<Body> {
        let date = self.at.strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut headers = vec![("host", HOST.to_owned()), ("x-amz-date", date.clone())];
        if let Some(target) = &self.target {
            headers.push(("x-amz-target", target.clone()));
        }
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = headers
            .iter()
            .map(|(name, value)| format!("{name}:{value}\n"))
            .collect();
        let hash = hex::encode(Sha256::digest(&self.body));
        let path = self.path.replace('%', "%25");
        let canonical = format!("{}\n{path}\n\n{lines}\n{names}\n{hash}", self.method);
        let day = &date[..8];
        let scope = format!("{day}/{REGION}/{}/aws4_request", self.service);
        let canonical = hex::encode(Sha256::digest(canonical.as_bytes()));
        let to_sign = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{canonical}");
        let mut key = format!("AWS4{}", self.secret).into_bytes();
        for part in [day, REGION, self.service, "aws4_request", &to_sign] {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
            mac.update(part.as_bytes());
            key = mac.finalize().into_bytes().to_vec();
        }
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.path)
            .header(
                "authorization",
                format!(
                    "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={}",
                    self.key_id,
                    hex::encode(&key)
                ),
            );
        for (name, value) in headers {
            request = request.header(name, value);
        }
        request.body(Body::from(self.body.clone())).unwrap()
    }
}

/// A hub to which no node is connected.
async fn hub(store: Store) -> Hub {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let root = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let sealer = Arc::new(Sealer::root(root));
    let options = Options {
        store,
        root: Arc::clone(&sealer),
        sealers: Sealers::new(move || Arc::clone(&sealer)),
        token_key: [7; 32],
        clock: Clock::new(|| NOW_MS),
        random: Randomness::system(),
        ticks: Ticks::Own,
        retention: Retention::default(),
        enrolment: Arc::new(NoEnrolment),
    };
    Hub::start(options).await.unwrap()
}

struct NoEnrolment;

impl Enrolment for NoEnrolment {
    fn enrol(
        &self,
        _: std::net::SocketAddr,
        _: Nonce,
        _: Bytes,
    ) -> BoxFuture<'static, Option<Bytes>> {
        Box::pin(std::future::ready(None))
    }

    fn renew(&self, _: NodeId, _: Renewal) -> BoxFuture<'static, Option<Reply>> {
        Box::pin(std::future::ready(None))
    }
}
