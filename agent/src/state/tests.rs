use super::*;
use crate::tls::fingerprint;
use rcgen::{CertificateParams, KeyPair, PKCS_ED25519};
use std::os::unix::fs::PermissionsExt;

fn self_signed() -> (Vec<u8>, Vec<u8>) {
    let key = KeyPair::generate_for(&PKCS_ED25519)
        .unwrap()
        .serialize_der();
    (certificate_for(&key), key)
}

/// A certificate for this PKCS#8 key.
pub(crate) fn certificate_for(key: &[u8]) -> Vec<u8> {
    let key = KeyPair::try_from(key).unwrap();
    let params = CertificateParams::new(vec![]).unwrap();
    params.self_signed(&key).unwrap().der().to_vec()
}

/// Some node's identity, with a key of its own.
pub(crate) fn identity(node: &str) -> Identity {
    let (root, _) = self_signed();
    let (certificate, key) = self_signed();
    let bridges = vec!["mqtts://bridge.example:8883".parse().unwrap()];
    Identity::new(node.parse().unwrap(), bridges, 7, root, certificate, key).unwrap()
}

/// A state directory that lives as long as its parent.
pub(crate) fn state() -> (tempfile::TempDir, StateDir) {
    let home = tempfile::tempdir().unwrap();
    let state = StateDir::new(home.path().join("state"));
    state.create().unwrap();
    (home, state)
}

pub(crate) const A: &str = "mi-0123456789abcdef0";
const B: &str = "mi-0123456789abcdef1";

#[test]
fn an_identity_is_read_as_it_was_installed_and_is_the_owners_alone() {
    let (_home, state) = state();
    assert!(matches!(
        state.identity(),
        Err(StateError::NotRegistered { .. })
    ));
    let identity = identity(A);
    state
        .keep_pending_key(Pending::Registration, b"key")
        .unwrap();
    state.install(&identity).unwrap();
    assert_eq!(state.identity().unwrap(), identity);
    assert_eq!(state.pending_key(Pending::Registration).unwrap(), None);
    let mode = |name: &str| {
        let path = state.path().join(name);
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode(""), mode("identity.json")), (0o700, 0o600));
    let shown = format!("{identity:?}");
    assert!(!shown.contains("key: ["), "{shown}");
}

#[test]
fn a_failed_install_leaves_the_old_identity() {
    let (_home, state) = state();
    let old = identity(A);
    state.install(&old).unwrap();
    // A directory in the place of the temporary file: the write fails before the rename.
    fs::create_dir(state.path().join("identity.json.new")).unwrap();
    assert!(state.install(&identity(B)).is_err());
    assert_eq!(state.identity().unwrap(), old);
}

#[test]
fn a_certificate_for_another_key_is_refused() {
    let identity = identity(A);
    let ((certificate, _), (_, key)) = (self_signed(), self_signed());
    assert!(matches!(
        identity.renewed(certificate, key),
        Err(IdentityError::Mismatch)
    ));
    let (certificate, key) = self_signed();
    let renewed = identity.renewed(certificate.clone(), key).unwrap();
    assert_eq!(
        fingerprint(&renewed.client().certificate),
        fingerprint(&certificate)
    );
}

#[test]
fn newer_and_damaged_identities_are_told_apart() {
    let (_home, state) = state();
    let path = state.path().join("identity.json");
    let reason = |text: &str| {
        fs::write(&path, text).unwrap();
        match state.identity() {
            Err(StateError::Identity { source, .. }) => source,
            other => panic!("{other:?}"),
        }
    };
    assert!(matches!(
        reason(r#"{"version": 9, "whatever": 1}"#),
        IdentityError::Newer { found: 9 }
    ));
    assert!(matches!(reason("{"), IdentityError::Json(_)));
    assert!(matches!(
        reason(r#"{"version": 1}"#),
        IdentityError::Json(_)
    ));
}

#[test]
fn a_relative_directory_holds_wherever_a_script_goes() {
    assert!(StateDir::new("state").scripts().is_absolute());
}

#[test]
fn who_holds_the_directory_for_a_moment_is_waited_for() {
    let (_home, state) = state();
    let mut looker = Some(state.hold().unwrap());
    let held = state.hold_after(|| looker.take().is_some());
    held.unwrap();
    let _stays = state.hold().unwrap();
    let mut tries = 0;
    let refused = state.hold_after(|| {
        tries += 1;
        tries < 3
    });
    assert!(matches!(refused, Err(StateError::InUse { .. })));
    assert_eq!(tries, 3);
}

#[test]
fn one_process_at_a_time_holds_the_directory() {
    let (_home, state) = state();
    let held = state.hold().unwrap();
    assert!(matches!(state.hold(), Err(StateError::InUse { .. })));
    drop(held);
    state.hold().unwrap();
}

#[test]
fn what_waits_for_another_node_is_removed() {
    let (_home, state) = state();
    let (a, b) = (identity(A), identity(B));
    let old = state.journal_of(&a).unwrap().path;
    fs::create_dir(&old).unwrap();
    assert_eq!(state.journal_of(&a).unwrap().path, old);
    assert!(old.exists());
    state.journal_of(&b).unwrap();
    assert!(!old.exists());
}

#[test]
fn what_is_not_a_journal_is_left_alone_and_named() {
    let (_home, state) = state();
    let node = identity(A);
    let journals = state.path().join("journal");
    fs::create_dir_all(journals.join("lost+found")).unwrap();
    fs::write(journals.join("notes"), "mine").unwrap();
    fs::write(journals.join(B), "no directory").unwrap();
    let mut place = state.journal_of(&node).unwrap();
    place.strays.sort();
    let strays = ["lost+found", B, "notes"].map(|name| journals.join(name));
    assert_eq!(place.strays, strays);
    assert!(strays.iter().all(|path| path.exists()));
}

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_directory_that_was_there_keeps_its_mode() {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let state = StateDir::new(home.path());
    state.create().unwrap();
    state.hold().unwrap();
    assert_eq!(mode_of(home.path()), 0o755);
    // What it makes itself is its own alone, parents too.
    let state = StateDir::new(home.path().join("a/b"));
    state.create().unwrap();
    assert_eq!(mode_of(state.path()), 0o700);
}

#[test]
fn a_directory_that_others_can_change_is_refused_with_the_next_step() {
    let home = tempfile::tempdir().unwrap();
    let state = StateDir::new(home.path());
    for mode in [0o1777, 0o775] {
        fs::set_permissions(home.path(), fs::Permissions::from_mode(mode)).unwrap();
        for refused in [state.create().unwrap_err(), state.hold().unwrap_err()] {
            assert!(matches!(refused, StateError::Unsafe { .. }));
            let said = refused.to_string();
            assert!(
                said.contains(&format!("{mode:04o}")) && said.contains("chmod go-w"),
                "{said}"
            );
        }
        assert_eq!(mode_of(home.path()), mode);
    }
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(home.path(), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(home.path(), Some(12345), None).unwrap();
        let said = state.create().unwrap_err().to_string();
        assert!(
            said.contains("belongs to user 12345") && said.contains("chown"),
            "{said}"
        );
    }
}

#[test]
fn a_directory_that_is_not_there_holds_no_node() {
    let home = tempfile::tempdir().unwrap();
    let state = StateDir::new(home.path().join("nowhere"));
    assert!(matches!(
        state.hold(),
        Err(StateError::NotRegistered { .. })
    ));
    assert!(!state.path().exists());
}

#[test]
fn a_bridges_directory_is_refused_and_left_as_it_is() {
    let (_home, state) = state();
    fs::write(state.path().join(BRIDGE_DATABASE), "").unwrap();
    for refused in [state.create(), state.hold().map(drop)] {
        assert!(matches!(refused, Err(StateError::Bridge { .. })));
    }
    assert_eq!(fs::read_dir(state.path()).unwrap().count(), 1);
}
