//! What clients do that break the rules, and what it costs them. The endpoint stays up.
//! Never relies on a client library to send it.

use super::*;
use holdfast_protocol::limits::PACKET_BYTES_MAX;
use proptest::prelude::*;

#[tokio::test]
async fn a_client_id_that_is_not_the_certificate_s_is_refused() {
    let world = World::new(Limits::default()).await;
    let mut raw = world.tls(Some(node(1))).await;
    raw.send(&connect(node(2).as_str(), 60)).await;
    assert_eq!(raw.end().await, b"\x20\x02\0\x02");
}

#[tokio::test]
async fn a_foreign_certificate_does_not_pass_tls() {
    let (world, stranger) = (
        World::new(Limits::default()).await,
        World::new(Limits::default()).await,
    );
    let mut config = stranger.client_config(Some(node(1)));
    config.enable_sni = false;
    let mut roots = RootCertStore::empty();
    roots.add(world.root.certificate().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
    config.dangerous().set_certificate_verifier(verifier);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from(crate::pki::SERVER_NAME).unwrap();
    let socket = TcpStream::connect(world.address).await.unwrap();
    // With TLS 1.3 the client learns of it with its first read.
    if let Ok(mut stream) = soon(connector.connect(name, socket)).await {
        let mut buffer = [0; 1];
        let error = soon(stream.read(&mut buffer)).await.unwrap_err();
        assert!(error.to_string().contains("fatal alert"), "{error}");
    }
}

#[tokio::test]
async fn another_protocol_level_is_answered_by_its_code() {
    let world = World::new(Limits::default()).await;
    let mut raw = world.tls(Some(node(1))).await;
    let mut packet = connect(node(1).as_str(), 60);
    packet[8] = 5;
    raw.send(&packet).await;
    assert_eq!(raw.end().await, b"\x20\x02\0\x01");
}

#[tokio::test]
async fn each_broken_rule_closes_the_connection_and_reaches_nobody() {
    let mut world = World::new(Limits::default()).await;
    let own = node(1);
    let hello = Topic::Hello(own).to_string();
    let too_long = u32::try_from(PACKET_BYTES_MAX).unwrap();
    let mut oversize = vec![0x32];
    oversize.extend(
        (0..3).map(|at| ((too_long >> (7 * at)) & 0x7f) as u8 | if at < 2 { 0x80 } else { 0 }),
    );
    for breach in [
        publish(&Topic::Hello(node(2)).to_string(), 1, b"spoofed"),
        publish(&Topic::Command(own).to_string(), 1, b"to myself"),
        publish("nonsense", 1, b""),
        publish("hf/1/#", 1, b""),
        packet(0x34, &[&text(&hello), b"\0\x01"]),
        packet(0x33, &[&text(&hello), b"\0\x01"]),
        connect(own.as_str(), 60),
        vec![0xf0, 0],
        vec![0x32, 0xff, 0xff, 0xff, 0xff],
        oversize,
    ] {
        let (mut raw, _) = world.node(own).await;
        raw.send(&breach).await;
        assert_eq!(raw.end().await, b"", "{breach:?}");
        let told = world.told().await;
        assert!(
            matches!(told, Told::Disconnect(_, Departure::Lost)),
            "{told:?}"
        );
    }
}

#[tokio::test]
async fn wildcards_and_foreign_filters_are_refused_one_by_one() {
    let mut world = World::new(Limits::default()).await;
    let own = node(1);
    let (mut raw, _) = world.node(own).await;
    let filters = [
        text("#"),
        vec![0],
        text("hf/1/+/x/down/command"),
        vec![1],
        text(&Topic::Control(node(2)).to_string()),
        vec![1],
        text(&Topic::Control(own).to_string()),
        vec![2],
    ];
    raw.send(&packet(0x82, &[b"\0\x07", &filters.concat()]))
        .await;
    raw.expect(b"\x90\x06\0\x07\x80\x80\x80\x01").await;
}

#[tokio::test]
async fn a_client_is_not_read_beyond_what_may_be_in_flight() {
    let limits = Limits {
        inflight: 2,
        ..Limits::default()
    };
    let mut world = World::new(limits).await;
    let own = node(1);
    let (mut raw, _) = world.node(own).await;
    let topic = Topic::Answer(own).to_string();
    let five: Vec<u8> = (1..=5).flat_map(|id| publish(&topic, id, &[0])).collect();
    raw.send(&five).await;
    let (first, second) = (world.published().await.2, world.published().await.2);
    // The endpoint has the other three; were they taken, they would be here before this answer.
    first.send(Verdict::Accepted).unwrap();
    raw.expect(&[0x40, 2, 0, 1]).await;
    let third = world.published().await.2;
    assert!(world.told.try_recv().is_err());
    for verdict in [second, third] {
        verdict.send(Verdict::Accepted).unwrap();
    }
    raw.expect(&[0x40, 2, 0, 2, 0x40, 2, 0, 3]).await;
    for id in [4, 5] {
        let verdict = world.published().await.2;
        verdict.send(Verdict::Accepted).unwrap();
        raw.expect(&[0x40, 2, 0, id]).await;
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_when_its_queue_is_full() {
    let limits = Limits {
        outbound_bytes: 256 * 1024,
        ..Limits::default()
    };
    let mut world = World::new(limits).await;
    let own = node(1);
    let (mut raw, arrival) = world.node(own).await;
    let control = Topic::Control(own);
    raw.send(&subscribe(1, &control.to_string())).await;
    raw.expect(b"\x90\x03\0\x01\x01").await;
    let message = || Outbound {
        topic: control,
        payload: vec![0; 100 * 1024].into(),
        delivery: None,
    };
    let full = loop {
        match arrival.mailbox.send(message()) {
            Ok(()) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, SendError::Full { max: 262_144, .. }));
    let told = world.told().await;
    assert!(matches!(told, Told::Disconnect(_, Departure::Lost)));
}

#[tokio::test]
async fn a_client_that_pings_and_never_reads_is_given_up() {
    let limits = Limits {
        unread: Duration::from_millis(100),
        ..Limits::default()
    };
    let mut world = World::new(limits).await;
    let (mut raw, _) = world.node(node(1)).await;
    let pings = [0xc0, 0].repeat(8 * 1024);
    // The answers fill both ends' buffers, then the endpoint reads no more pings; the client waits for
    // ever, and stays connected.
    let flood = async {
        loop {
            if raw.0.write_all(&pings).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    let left = tokio::select! {
        told = world.told() => told,
        () = flood => unreachable!("it never ends"),
    };
    assert!(
        matches!(left, Told::Disconnect(_, Departure::Lost)),
        "{left:?}"
    );
}

#[tokio::test]
async fn what_is_not_acknowledged_is_bounded() {
    let limits = Limits {
        unacknowledged: 2,
        ..Limits::default()
    };
    let mut world = World::new(limits).await;
    let own = node(1);
    let (mut raw, arrival) = world.node(own).await;
    let command = Topic::Command(own);
    raw.send(&subscribe(1, &command.to_string())).await;
    raw.expect(b"\x90\x03\0\x01\x01").await;
    for id in 1..=3 {
        let message = Outbound {
            topic: command,
            payload: (&b"run"[..]).into(),
            delivery: Some(DeliveryId(id)),
        };
        arrival.mailbox.send(message).unwrap();
    }
    let told = world.told().await;
    assert!(matches!(told, Told::Disconnect(_, Departure::Lost)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn no_bytes_after_connect_bring_the_endpoint_down(bytes in prop::collection::vec(any::<u8>(), 1..400)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new(Limits::default()).await;
            let (mut raw, _) = world.node(node(1)).await;
            raw.send(&bytes).await;
            drop(raw);
            // Whatever they meant, the next node is served.
            let mut next = world.tls(Some(node(2))).await;
            next.send(&connect(node(2).as_str(), 60)).await;
            next.expect(b"\x20\x02\0\0").await;
        });
    }
}
