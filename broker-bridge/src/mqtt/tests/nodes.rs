//! What nodes and enrolling clients are promised.
//! Never sends what a real client would not.

use super::*;
use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS, Transport};
use rustls::DigitallySignedStruct;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls_pki_types::UnixTime;

/// Checks the bridge's fixed name whatever the address is, as the agent does.
#[derive(Debug)]
struct FixedName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for FixedName {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let name = ServerName::try_from(crate::pki::SERVER_NAME).unwrap();
        self.0.verify_server_cert(leaf, chain, &name, ocsp, now)
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, leaf, signed)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        leaf: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, leaf, signed)
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

impl World {
    /// rumqttc, on which the agent's link is built.
    fn real_client(&self, node: NodeId) -> (AsyncClient, EventLoop) {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.certificate().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .unwrap();
        let mut tls = self.client_config(Some(node));
        tls.dangerous()
            .set_certificate_verifier(Arc::new(FixedName(verifier)));
        let mut options = MqttOptions::new(node.as_str(), "127.0.0.1", self.address.port());
        let tls = rumqttc::TlsConfiguration::Rustls(Arc::new(tls));
        options.set_transport(Transport::tls_with_config(tls));
        options.set_max_packet_size(256 * 1024, 256 * 1024);
        AsyncClient::new(options, 10)
    }
}

async fn incoming(events: &mut EventLoop) -> Packet {
    loop {
        match soon(events.poll()).await.unwrap() {
            Event::Incoming(packet) => return packet,
            Event::Outgoing(_) => {}
        }
    }
}

#[tokio::test]
async fn a_real_client_is_served_both_ways() {
    let mut world = World::new(Limits::default()).await;
    let own = node(1);
    let (client, mut events) = world.real_client(own);
    match incoming(&mut events).await {
        Packet::ConnAck(ack) => assert!(!ack.session_present),
        other => panic!("{other:?}"),
    }
    let arrival = world.arrival().await;
    assert_eq!(arrival.identity.as_ref().unwrap().node, own);

    let command = Topic::Command(own);
    client
        .subscribe(command.to_string(), QoS::AtLeastOnce)
        .await
        .unwrap();
    assert!(matches!(incoming(&mut events).await, Packet::SubAck(_)));
    let big = vec![7; 190 * 1024];
    arrival
        .mailbox
        .send(Outbound {
            topic: command,
            payload: big.clone().into(),
            delivery: Some(DeliveryId(42)),
        })
        .unwrap();
    match incoming(&mut events).await {
        Packet::Publish(publish) => assert_eq!(publish.payload, big),
        other => panic!("{other:?}"),
    }
    client
        .publish(
            Topic::Hello(own).to_string(),
            QoS::AtLeastOnce,
            false,
            big.clone(),
        )
        .await
        .unwrap();
    let pump = tokio::spawn(async move { incoming(&mut events).await });
    assert!(matches!(
        world.told().await,
        Told::Delivered(DeliveryId(42))
    ));
    let (topic, payload, verdict) = world.published().await;
    assert_eq!((topic, payload), (Topic::Hello(own), big));
    verdict.send(Verdict::Accepted).unwrap();
    assert!(matches!(soon(pump).await.unwrap(), Packet::PubAck(_)));
}

#[tokio::test]
async fn no_puback_goes_out_before_the_commit_and_all_keep_their_order() {
    let mut world = World::new(Limits::default()).await;
    let own = node(1);
    let (mut raw, _) = world.node(own).await;
    let topic = Topic::Answer(own).to_string();
    for id in 1..=3 {
        raw.send(&publish(&topic, id, &[0])).await;
    }
    let mut verdicts = Vec::new();
    for _ in 0..3 {
        verdicts.push(world.published().await.2);
    }
    // Were a PUBACK under way, it would come before this answer.
    raw.send(b"\xc0\0").await;
    raw.expect(b"\xd0\0").await;
    verdicts.pop().unwrap().send(Verdict::Accepted).unwrap();
    raw.send(b"\xc0\0").await;
    raw.expect(b"\xd0\0").await;
    for verdict in verdicts {
        verdict.send(Verdict::Discarded).unwrap();
    }
    raw.expect(b"\x40\x02\0\x01\x40\x02\0\x02\x40\x02\0\x03")
        .await;
}

#[tokio::test]
async fn a_commit_that_failed_closes_without_puback() {
    let mut world = World::new(Limits::default()).await;
    let own = node(1);
    for verdict in [Some(Verdict::Close(CloseReason::Store)), None] {
        let (mut raw, _) = world.node(own).await;
        raw.send(&publish(&Topic::Answer(own).to_string(), 1, &[0]))
            .await;
        let sender = world.published().await.2;
        match verdict {
            Some(verdict) => sender.send(verdict).unwrap(),
            None => drop(sender),
        }
        assert_eq!(raw.end().await, b"");
        let told = world.told().await;
        assert!(matches!(told, Told::Disconnect(_, Departure::Lost)));
    }
}

#[tokio::test]
async fn a_newer_connection_of_a_node_takes_over() {
    let mut world = World::new(Limits::default()).await;
    let (first, arrival) = world.node(node(1)).await;
    let (mut second, newer) = world.node(node(1)).await;
    assert!(newer.connection > arrival.connection);
    assert_eq!(first.end().await, b"");
    match world.told().await {
        Told::Disconnect(connection, Departure::Lost) => assert_eq!(connection, arrival.connection),
        other => panic!("{other:?}"),
    }
    second.send(b"\xc0\0").await;
    second.expect(b"\xd0\0").await;
}

#[tokio::test]
async fn a_full_bridge_still_lets_a_node_replace_its_own_connection() {
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let mut world = World::new(limits).await;
    let (first, _) = world.node(node(1)).await;
    let mut other = world.tls(Some(node(2))).await;
    other.send(&connect(node(2).as_str(), 60)).await;
    assert_eq!(other.end().await, b"\x20\x02\0\x03");
    let mut second = world.tls(Some(node(1))).await;
    second.send(&connect(node(1).as_str(), 60)).await;
    assert_eq!(first.end().await, b"");
    second.expect(b"\x20\x02\0\0").await;
}

#[tokio::test]
async fn a_will_is_published_unless_the_client_says_disconnect() {
    let mut world = World::new(Limits::default()).await;
    let own = node(1);
    let presence = Topic::Presence(own);
    let will = [text(&presence.to_string()), text("gone")].concat();
    let fixed = b"\0\x04MQTT\x04\x0e\0\x3c";
    let connect = packet(0x10, &[fixed, &text(own.as_str()), &will]);
    for farewell in [&b""[..], b"\xe0\0"] {
        let mut raw = world.tls(Some(own)).await;
        raw.send(&connect).await;
        world.arrival().await;
        raw.expect(b"\x20\x02\0\0").await;
        raw.send(farewell).await;
        drop(raw);
        if farewell.is_empty() {
            let (topic, payload, _) = world.published().await;
            assert_eq!((topic, &*payload), (presence, &b"gone"[..]));
        }
        match world.told().await {
            Told::Disconnect(_, departure) => {
                assert_eq!(departure == Departure::Lost, farewell.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_may_enrol_and_nothing_else() {
    let mut world = World::new(Limits::default()).await;
    let nonce = [5; 16];
    let mut raw = world.tls(None).await;
    raw.send(&connect("newcomer", 60)).await;
    let arrival = world.arrival().await;
    assert!(arrival.identity.is_none());
    raw.expect(b"\x20\x02\0\0").await;
    raw.send(&subscribe(1, &Topic::EnrolReply(nonce).to_string()))
        .await;
    raw.expect(b"\x90\x03\0\x01\x01").await;
    raw.send(&subscribe(2, &Topic::Command(node(1)).to_string()))
        .await;
    raw.expect(b"\x90\x03\0\x02\x80").await;
    raw.send(&publish(
        &Topic::EnrolRequest(nonce).to_string(),
        3,
        b"please",
    ))
    .await;
    let (topic, _, verdict) = world.published().await;
    assert_eq!(topic, Topic::EnrolRequest(nonce));
    let reply = Outbound {
        topic: Topic::EnrolReply(nonce),
        payload: (&b"welcome"[..]).into(),
        delivery: None,
    };
    arrival.mailbox.send(reply).unwrap();
    let expected = packet(
        0x30,
        &[&text(&Topic::EnrolReply(nonce).to_string()), b"welcome"],
    );
    raw.expect(&expected).await;
    verdict.send(Verdict::Accepted).unwrap();
    raw.expect(b"\x40\x02\0\x03").await;
    raw.send(&publish(&Topic::Hello(node(1)).to_string(), 4, b"me"))
        .await;
    assert_eq!(raw.end().await, b"");
}

#[tokio::test]
async fn a_client_without_a_certificate_does_not_stay() {
    let limits = Limits {
        anonymous: 1,
        anonymous_life: Duration::from_millis(300),
        ..Limits::default()
    };
    let mut world = World::new(limits).await;
    let mut raw = world.tls(None).await;
    raw.send(&connect("a", 60)).await;
    world.arrival().await;
    raw.expect(b"\x20\x02\0\0").await;
    let mut second = world.tls(None).await;
    second.send(&connect("b", 60)).await;
    assert_eq!(second.end().await, b"\x20\x02\0\x03");
    assert_eq!(raw.end().await, b"");
}

#[tokio::test]
async fn a_refused_node_is_told_so() {
    let mut world = World::new(Limits::default()).await;
    for (number, refusal, code) in [
        (1, ConnectRefusal::Revoked, 5),
        (2, ConnectRefusal::Unknown, 5),
        (3, ConnectRefusal::Unavailable, 3),
    ] {
        let own = node(number);
        world.hub.refusals.lock().unwrap().insert(own, refusal);
        let mut raw = world.tls(Some(own)).await;
        raw.send(&connect(own.as_str(), 60)).await;
        world.arrival().await;
        assert_eq!(raw.end().await, [0x20, 2, 0, code]);
    }
}

#[tokio::test]
async fn a_silent_client_is_gone_after_one_and_a_half_times_its_keep_alive() {
    let mut world = World::new(Limits::default()).await;
    let mut raw = world.tls(Some(node(1))).await;
    raw.send(&connect(node(1).as_str(), 1)).await;
    world.arrival().await;
    raw.expect(b"\x20\x02\0\0").await;
    assert_eq!(raw.end().await, b"");
    let told = world.told().await;
    assert!(matches!(told, Told::Disconnect(_, Departure::Lost)));
}

#[tokio::test]
async fn a_stop_lets_commits_finish_and_closes() {
    let mut world = World::new(Limits::default()).await;
    let own = node(1);
    let (mut raw, _) = world.node(own).await;
    raw.send(&publish(&Topic::Answer(own).to_string(), 9, &[0]))
        .await;
    let verdict = world.published().await.2;
    world.stop.take().unwrap().send(()).unwrap();
    verdict.send(Verdict::Accepted).unwrap();
    assert_eq!(raw.end().await, b"\x40\x02\0\x09");
    soon(&mut world.running).await.unwrap();
    assert!(TcpStream::connect(world.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reply_queued_before_the_verdict_comes_before_the_puback() {
    let mut world = World::new(Limits::default()).await;
    let own = node(1);
    let (mut raw, arrival) = world.node(own).await;
    let control = Topic::Control(own);
    raw.send(&subscribe(1, &control.to_string())).await;
    raw.expect(b"\x90\x03\0\x01\x01").await;
    let reply = packet(0x30, &[&text(&control.to_string()), b"reply"]);
    for _ in 0..200 {
        raw.send(&publish(&Topic::Hello(own).to_string(), 2, b"hello"))
            .await;
        let verdict = world.published().await.2;
        let message = Outbound {
            topic: control,
            payload: (&b"reply"[..]).into(),
            delivery: None,
        };
        arrival.mailbox.send(message).unwrap();
        verdict.send(Verdict::Accepted).unwrap();
        raw.expect(&reply).await;
        raw.expect(b"\x40\x02\0\x02").await;
    }
}
