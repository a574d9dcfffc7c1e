use super::*;
use crate::tls::{BRIDGE_NAME, Connector, Floor, Root};
use bytes::BytesMut;
use holdfast_agent_core::{LinkFault, Qos};
use holdfast_protocol::limits::PACKET_BYTES_MAX;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519};
use rumqttc::mqttbytes::v4::{
    ConnAck, ConnectReturnCode, Packet, PubAck, Publish, SubAck, SubscribeReasonCode,
};
use rumqttc::mqttbytes::{self, QoS};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::server::TlsStream;

/// A TLS server under a root of its own, which speaks just as much MQTT as a test tells it to.
struct Server {
    listener: TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
    root: Vec<u8>,
}

impl Server {
    async fn start() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca =
            CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ED25519).unwrap())
                .unwrap();
        let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        let leaf = CertificateParams::new(vec![BRIDGE_NAME.to_owned()])
            .unwrap()
            .signed_by(&key, &ca)
            .unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                rustls_pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            )
            .unwrap();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: Arc::new(config).into(),
            root: ca.der().to_vec(),
        }
    }

    fn address(&self) -> address::Address {
        let address = self.listener.local_addr().unwrap();
        format!("mqtts://{address}").parse().unwrap()
    }

    fn connector(&self) -> Connector {
        let root = Root::Pinned(self.root.clone().into());
        Connector::new(root, None, Floor::default()).unwrap()
    }

    async fn accept(&self) -> Peer {
        let (stream, _) = self.listener.accept().await.unwrap();
        Peer {
            stream: self.acceptor.accept(stream).await.unwrap(),
            input: BytesMut::new(),
        }
    }

    /// Accepts, and lets the client in.
    async fn greet(&self) -> Peer {
        let mut peer = self.accept().await;
        assert!(matches!(peer.next().await, Packet::Connect(_)));
        peer.send(&Packet::ConnAck(ConnAck::new(
            ConnectReturnCode::Success,
            false,
        )))
        .await;
        let Packet::Subscribe(subscribe) = peer.next().await else {
            panic!("no SUBSCRIBE");
        };
        let codes = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)];
        peer.send(&Packet::SubAck(SubAck::new(subscribe.pkid, codes)))
            .await;
        peer
    }
}

struct Peer {
    stream: TlsStream<TcpStream>,
    input: BytesMut,
}

impl Peer {
    async fn next(&mut self) -> Packet {
        loop {
            match Packet::read(&mut self.input, PACKET_BYTES_MAX) {
                Ok(packet) => return packet,
                Err(mqttbytes::Error::InsufficientBytes(_)) => {
                    assert!(self.stream.read_buf(&mut self.input).await.unwrap() > 0);
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    async fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, usize::MAX).unwrap();
        self.stream.write_all(&bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }
}

fn hail() -> Hail {
    Hail {
        client_id: "mi-0123456789abcdef0".into(),
        will: None,
        topics: vec!["down".into()],
    }
}

fn publish(payload: Vec<u8>) -> Outgoing {
    Outgoing::Publish {
        topic: "up".into(),
        frame: payload,
        qos: Qos::AtLeastOnce,
    }
}

struct Serving {
    outgoing: mpsc::Sender<Outgoing>,
    incoming: mpsc::Receiver<Incoming>,
    end: tokio::task::JoinHandle<End>,
}

fn serve(session: Session) -> Serving {
    let (outgoing, mut wanted) = mpsc::channel(64);
    let (arrived, incoming) = mpsc::channel(1);
    let end = tokio::spawn(async move { session.serve(&mut wanted, arrived).await });
    Serving {
        outgoing,
        incoming,
        end,
    }
}

async fn connected(server: &Server) -> (Peer, Serving) {
    let (dialer, address, tls) = (Dialer::default(), server.address(), server.connector());
    let (peer, session) = tokio::join!(server.greet(), dialer.connect(&address, &tls, hail()));
    (peer, serve(session.unwrap()))
}

async fn refusal(server: &Server, tls: &Connector) -> LinkError {
    let (dialer, address) = (Dialer::default(), server.address());
    dialer.connect(&address, tls, hail()).await.unwrap_err()
}

#[tokio::test]
async fn publishes_go_both_ways_and_are_acknowledged_only_on_request() {
    let server = Server::start().await;
    let (mut peer, mut serving) = connected(&server).await;
    let mut command = Publish::new("down", QoS::AtLeastOnce, b"run".to_vec());
    command.pkid = 7;
    peer.send(&Packet::Publish(command)).await;
    let arrived = serving.incoming.recv().await.unwrap();
    assert_eq!(
        arrived,
        Incoming::Publish {
            packet: 7,
            topic: "down".into(),
            frame: b"run".to_vec()
        }
    );
    // Had the arrival been acknowledged by itself, that would come first.
    serving
        .outgoing
        .send(publish(b"busy".to_vec()))
        .await
        .unwrap();
    let Packet::Publish(up) = peer.next().await else {
        panic!("no PUBLISH");
    };
    assert_eq!(&up.payload[..], b"busy");
    serving.outgoing.send(Outgoing::Ack(7)).await.unwrap();
    assert_eq!(peer.next().await, Packet::PubAck(PubAck::new(7)));
    peer.send(&Packet::PubAck(PubAck::new(up.pkid))).await;
    assert_eq!(serving.incoming.recv().await, Some(Incoming::PubAck));
}

#[tokio::test]
async fn a_peer_that_does_not_read_does_not_stop_what_comes_from_it() {
    let server = Server::start().await;
    let (mut peer, mut serving) = connected(&server).await;
    // Far more than the sockets between the two can hold.
    for _ in 0..60 {
        let frame = vec![0; PACKET_BYTES_MAX - 100];
        serving.outgoing.send(publish(frame)).await.unwrap();
    }
    peer.send(&Packet::Publish(Publish::new(
        "down",
        QoS::AtMostOnce,
        b"cancel".to_vec(),
    )))
    .await;
    assert!(matches!(
        serving.incoming.recv().await,
        Some(Incoming::Publish { packet: 0, .. })
    ));
}

#[tokio::test]
async fn a_packet_above_the_bound_ends_the_connection() {
    let server = Server::start().await;
    let (mut peer, serving) = connected(&server).await;
    let frame = vec![0; PACKET_BYTES_MAX + 1];
    peer.send(&Packet::Publish(Publish::new(
        "down",
        QoS::AtMostOnce,
        frame,
    )))
    .await;
    let end = serving.end.await.unwrap();
    assert_eq!(end.fault(), LinkFault::Mqtt, "{end}");
}

#[tokio::test]
async fn an_acknowledgement_of_nothing_ends_the_connection() {
    let server = Server::start().await;
    let (mut peer, serving) = connected(&server).await;
    peer.send(&Packet::PubAck(PubAck::new(9))).await;
    assert_eq!(serving.end.await.unwrap().fault(), LinkFault::Mqtt);
}

#[tokio::test]
async fn a_close_says_goodbye_and_a_lost_peer_is_lost() {
    let server = Server::start().await;
    let (mut peer, serving) = connected(&server).await;
    serving
        .outgoing
        .send(Outgoing::Close("done".into()))
        .await
        .unwrap();
    assert_eq!(peer.next().await, Packet::Disconnect);
    assert_eq!(serving.end.await.unwrap(), End::Asked("done".into()));
    let (peer, serving) = connected(&server).await;
    drop(peer);
    assert_eq!(serving.end.await.unwrap().fault(), LinkFault::Lost);
}

#[tokio::test]
async fn a_silent_peer_is_pinged_and_then_given_up() {
    let server = Server::start().await;
    let (mut peer, serving) = connected(&server).await;
    tokio::time::pause();
    assert_eq!(peer.next().await, Packet::PingReq);
    assert!(matches!(serving.end.await.unwrap(), End::Silent(_)));
}

#[tokio::test]
async fn faults_are_told_apart_by_stage() {
    let server = Server::start().await;
    let other = Server::start().await;
    let wrong_root = async {
        let (stream, _) = server.listener.accept().await.unwrap();
        assert!(server.acceptor.accept(stream).await.is_err());
    };
    let stranger = other.connector();
    let (error, ()) = tokio::join!(refusal(&server, &stranger), wrong_root);
    assert!(matches!(error, LinkError::Distrust { .. }), "{error}");
    assert_eq!(error.fault(), LinkFault::Tls);

    let not_authorised = async {
        let mut peer = server.accept().await;
        peer.next().await;
        let code = ConnectReturnCode::NotAuthorized;
        peer.send(&Packet::ConnAck(ConnAck::new(code, false))).await;
        peer
    };
    let connector = server.connector();
    let (error, _peer) = tokio::join!(refusal(&server, &connector), not_authorised);
    assert_eq!(error.fault(), LinkFault::CertificateRefused);

    let address = server.address();
    drop(server);
    let error = Dialer::default()
        .connect(&address, &connector, hail())
        .await
        .unwrap_err();
    assert_eq!(error.fault(), LinkFault::Tcp, "{error}");
}

#[tokio::test]
async fn what_speaks_no_tls_is_told_from_a_bridge_that_is_not_trusted() {
    let server = Server::start().await;
    let http = async {
        let (mut stream, _) = server.listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        // What the client sent is read, so that the answer is not lost with a reset.
        let _ = stream.read(&mut [0; 4096]).await;
        stream
    };
    let hail = Hail {
        client_id: "a".into(),
        will: None,
        topics: Vec::new(),
    };
    let (address, tls) = (server.address(), server.connector());
    let dialer = Dialer::default();
    let (refused, _stream) = tokio::join!(dialer.connect(&address, &tls, hail), http);
    let refused = refused.err().unwrap();
    assert!(matches!(refused, LinkError::NotTls { .. }), "{refused:?}");
    assert_eq!(refused.fault(), LinkFault::Tls);
}
