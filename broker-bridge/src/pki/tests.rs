//! What is on disk, what the certificates say, and who may use which.
//! Never opens a socket: the endpoint's tests do.

use super::*;
use holdfast_protocol::NodeId;
use holdfast_protocol::limits::{CERTIFICATE_BYTES_MAX, CERTIFICATES_END_UNIX_MS};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, UnixTime};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const NOW: u64 = 1_790_000_000_000;

fn node() -> NodeId {
    NodeId::from_random([7; 9])
}

fn verify(root: &Root, der: &[u8], now_unix_ms: u64) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(root.certificate().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap()
        .verify_client_cert(
            &CertificateDer::from(der),
            &[],
            UnixTime::since_unix_epoch(Duration::from_millis(now_unix_ms)),
        )
        .map(|_| ())
}

#[test]
fn a_state_directory_keeps_its_root_and_hides_its_keys() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let first = Root::open_or_create(&state).unwrap();
    let signing = Signing::open_or_create(&first, &state, NOW).unwrap();
    let again = Root::open_or_create(&state).unwrap();
    assert_eq!(first.ca_sha256(), again.ca_sha256());
    let mode = |name: &str| {
        let path = state.join(name);
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("."), 0o700);
    let signing_key = format!("signing-{}.key", signing.serial());
    assert_eq!((mode("ca.key"), mode(&signing_key)), (0o600, 0o600));
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 3);
}

#[test]
fn a_damaged_or_foreign_root_is_refused_and_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    Root::open_or_create(dir.path()).unwrap();
    let other = tempfile::tempdir().unwrap();
    Root::open_or_create(other.path()).unwrap();
    std::fs::copy(other.path().join("ca.der"), dir.path().join("ca.der")).unwrap();
    let mismatch = Root::open_or_create(dir.path()).unwrap_err();
    assert!(matches!(mismatch, PkiError::RootMismatch { .. }));
    std::fs::write(dir.path().join("ca.key"), b"cut").unwrap();
    let damaged = Root::open_or_create(dir.path()).unwrap_err();
    assert!(matches!(damaged, PkiError::Key { .. }), "{damaged}");
    assert_eq!(std::fs::read(dir.path().join("ca.key")).unwrap(), b"cut");
}

#[test]
fn a_key_that_others_may_read_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    Root::open_or_create(dir.path()).unwrap();
    let path = dir.path().join("ca.key");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = Root::open_or_create(dir.path()).unwrap_err();
    assert!(matches!(error, PkiError::File(_)));
}

#[test]
fn a_node_certificate_names_its_node_and_ends_on_its_day() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open_or_create(dir.path()).unwrap();
    let (_, pair) = root::generate().unwrap();
    let key = holdfast_protocol::enrol::public_key(&pair).unwrap();
    let issued = root.issue_node(&node(), &key, NOW, 60).unwrap();
    assert!(issued.der.len() <= CERTIFICATE_BYTES_MAX / 4);
    let identity = identity(&issued.der).unwrap();
    assert_eq!((identity.node, identity.key), (node(), key));
    assert_eq!(*identity.serial, issued.serial);
    assert_eq!(identity.not_after_unix_ms, issued.not_after_unix_ms);
    assert_eq!(issued.not_after_unix_ms, NOW + 60 * DAY_MS);
    verify(&root, &issued.der, NOW).unwrap();
    // Nodes count two thirds of its life from its begin.
    let (_, parsed) = x509_parser::parse_x509_certificate(&issued.der).unwrap();
    let begins = parsed.validity().not_before.timestamp().unsigned_abs() * 1000;
    assert!((NOW - DAY_MS..=NOW).contains(&begins));
    let expired = verify(&root, &issued.der, NOW + 61 * DAY_MS).unwrap_err();
    assert!(expired.to_string().contains("expired"), "{expired}");
}

#[test]
fn the_bridge_certificate_is_none_of_a_client() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open_or_create(dir.path()).unwrap();
    let (server, _) = root.issue_server(NOW).unwrap();
    assert!(verify(&root, &server, NOW).is_err());
    assert_eq!(identity(&server), Err(IdentityError::Name));
    // However far ahead a node's floor of time stands, it lets this bridge talk to it.
    let (_, parsed) = x509_parser::parse_x509_certificate(&server).unwrap();
    let not_after = u64::try_from(parsed.validity().not_after.timestamp()).unwrap();
    assert_eq!(not_after * 1000, CERTIFICATES_END_UNIX_MS);
    let stranger_dir = tempfile::tempdir().unwrap();
    let stranger = Root::open_or_create(stranger_dir.path()).unwrap();
    let foreign = stranger.issue_node(&node(), &[9; 32], NOW, 60).unwrap();
    assert!(verify(&root, &foreign.der, NOW).is_err());
}

#[test]
fn a_rotation_is_taken_up_by_who_runs_and_certified_by_the_root() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open_or_create(dir.path()).unwrap();
    let signing = Signing::open_or_create(&root, dir.path(), 1000).unwrap();
    assert_eq!(
        (signing.serial(), signing.reload(&root).unwrap()),
        (1, None)
    );
    assert_eq!(rotate(dir.path(), 0, 0).unwrap(), 2);
    assert_eq!(signing.reload(&root).unwrap(), Some(2));
    let certificate = *signing.sealer().certificate().unwrap();
    assert_eq!(certificate.serial, 2);
    assert!(certificate.verify(&root.public_key()));
    let restarted = Signing::open_or_create(&root, dir.path(), 0).unwrap();
    assert_eq!(restarted.serial(), 2);
    assert_eq!(rotate(dir.path(), 77, 0).unwrap(), 78);
}

#[test]
fn a_key_made_beside_an_older_backups_is_newer_than_all_made_since() {
    let (live, restored) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let root = Root::open_or_create(live.path()).unwrap();
    let first = Signing::open_or_create(&root, live.path(), NOW).unwrap();
    let name = format!("signing-{}.key", first.serial());
    std::fs::copy(live.path().join(&name), restored.path().join(&name)).unwrap();
    let day = |n: u64| NOW + n * DAY_MS;
    let last = (1..4).map(|n| rotate(live.path(), 0, day(n)).unwrap());
    let last = last.max().unwrap();
    assert!(rotate(restored.path(), 0, day(4)).unwrap() > last);
}

#[test]
fn the_token_key_is_made_once_and_a_damaged_one_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let key = token_key(dir.path()).unwrap();
    assert_eq!(token_key(dir.path()).unwrap(), key);
    std::fs::write(dir.path().join("token.key"), b"short").unwrap();
    let damaged = token_key(dir.path()).unwrap_err();
    assert!(matches!(damaged, PkiError::TokenKey { .. }));
}
