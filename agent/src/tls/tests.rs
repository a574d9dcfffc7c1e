use super::*;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ED25519, date_time_ymd,
};

type Ca = CertifiedIssuer<'static, KeyPair>;

const YEAR_MS: u64 = 365 * 86_400_000;
const Y2026_MS: u64 = 56 * YEAR_MS;

fn ca(name: &str) -> Ca {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2060, 1, 1);
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    CertifiedIssuer::self_signed(params, key).unwrap()
}

fn leaf(ca: &Ca, name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateDer<'static> {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.extended_key_usages = vec![usage];
    params.not_before = date_time_ymd(2025, 1, 1);
    params.not_after = date_time_ymd(2030, 1, 1);
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    params.signed_by(&key, ca).unwrap().der().clone()
}

fn bridge(ca: &Ca) -> CertificateDer<'static> {
    leaf(ca, BRIDGE_NAME, ExtendedKeyUsagePurpose::ServerAuth)
}

fn check(
    root: Root,
    floor_ms: u64,
    leaf: &CertificateDer<'_>,
    chain: &[CertificateDer<'_>],
) -> Result<(), Distrust> {
    let verifier =
        BridgeVerifier::new(root, Floor::new(floor_ms), &Arc::new(suite::provider())).unwrap();
    // The clock and the name that rustls passes must not matter.
    let clock = UnixTime::since_unix_epoch(Duration::ZERO);
    let name = ServerName::try_from("10.0.0.1").unwrap();
    match verifier.verify_server_cert(leaf, chain, &name, &[], clock) {
        Ok(_) => Ok(()),
        Err(error) => Err(distrust_of(&io::Error::other(error)).unwrap().clone()),
    }
}

#[test]
fn the_bridge_is_known_whatever_the_clock_says() {
    let ca = ca("root");
    let pinned = || Root::Pinned(ca.der().clone());
    // A floor of 1970 and one 20 years before the certificate: `notBefore` is ignored.
    for floor_ms in [0, Y2026_MS - 20 * YEAR_MS, Y2026_MS] {
        assert_eq!(check(pinned(), floor_ms, &bridge(&ca), &[]), Ok(()));
    }
}

#[test]
fn a_certificate_that_ended_before_the_floor_is_refused() {
    let ca = ca("root");
    let floor_ms = Y2026_MS + 20 * YEAR_MS;
    let found = check(Root::Pinned(ca.der().clone()), floor_ms, &bridge(&ca), &[]);
    assert_eq!(
        found,
        Err(Distrust::Expired {
            not_after_unix_s: 1_893_456_000,
            floor_unix_s: floor_ms / 1000
        })
    );
}

#[test]
fn another_root_of_the_same_name_is_refused() {
    let (ours, other) = (ca("root"), ca("root"));
    let found = check(
        Root::Pinned(ours.der().clone()),
        0,
        &bridge(&other),
        &[other.der().clone()],
    );
    assert_eq!(found, Err(Distrust::Untrusted));
}

#[test]
fn a_node_cannot_pose_as_the_bridge() {
    let ca = ca("root");
    let pinned = || Root::Pinned(ca.der().clone());
    let node = leaf(
        &ca,
        "mi-0123456789abcdef0",
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    assert_eq!(check(pinned(), 0, &node, &[]), Err(Distrust::NotABridge));
    let named = leaf(&ca, BRIDGE_NAME, ExtendedKeyUsagePurpose::ClientAuth);
    assert_eq!(check(pinned(), 0, &named, &[]), Err(Distrust::NotABridge));
    let other = leaf(&ca, "another-name", ExtendedKeyUsagePurpose::ServerAuth);
    assert_eq!(check(pinned(), 0, &other, &[]), Err(Distrust::NotABridge));
}

#[test]
fn registration_takes_the_root_by_its_hash_and_only_that_one() {
    let (ours, other) = (ca("root"), ca("other"));
    let hash = fingerprint(ours.der());
    let chain = [ours.der().clone()];
    assert_eq!(check(Root::Hash(hash), 0, &bridge(&ours), &chain), Ok(()));
    // The right root beside a leaf that it did not sign.
    assert_eq!(
        check(Root::Hash(hash), 0, &bridge(&other), &chain),
        Err(Distrust::Untrusted)
    );
    assert_eq!(
        check(Root::Hash(hash), 0, &bridge(&other), &[other.der().clone()]),
        Err(Distrust::WrongRoot {
            expected: hex::encode(hash),
            found: hex::encode(fingerprint(other.der())),
        })
    );
}

#[test]
fn bytes_that_are_no_certificate_are_refused() {
    let ca = ca("root");
    let junk = CertificateDer::from(vec![0x30, 0x82, 0xff, 0xff]);
    assert!(matches!(
        check(Root::Pinned(ca.der().clone()), 0, &junk, &[]),
        Err(Distrust::Malformed(_))
    ));
}
