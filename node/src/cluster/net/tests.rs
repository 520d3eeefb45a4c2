//! Connections between nodes, with real certificates.

use std::{path::PathBuf, sync::atomic::Ordering::Relaxed};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_stream::StreamExt;

use super::*;

/// A certificate authority for tests, with its files.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self {
            issuer,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// The files of a certificate with these URIs.
    fn files(&self, uris: &[&str]) -> TlsFiles {
        let file = |name: &str, content: String| -> PathBuf {
            let path = self.folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path
        };
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.subject_alt_names = uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let name = uris.join("+").replace(['/', ':'], "_");
        TlsFiles {
            ca: file("ca.pem", self.issuer.pem()),
            certificate: file(&format!("{name}.pem"), certificate.pem()),
            key: file(&format!("{name}.key"), key.serialize_pem()),
        }
    }

    /// The TLS of a node.
    pub(crate) fn tls(&self, identity: &Identity) -> ClusterTls {
        ClusterTls::load(identity, &self.files(&[&identity.uri()])).unwrap()
    }
}

fn identity(name: &str) -> Identity {
    Identity::new("c", name).unwrap()
}

/// A listening node and the connections it identified.
struct Listening {
    address: String,
    control: Incoming,
    data: Incoming,
    refused: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

async fn listen(identity: Identity, security: Security) -> Listening {
    let (acceptor, control, data) = Acceptor::bind("127.0.0.1:0", identity, security, Handle::current())
        .await
        .unwrap();
    let address = acceptor.local_addr().unwrap().to_string();
    let refused = acceptor.refused();
    tokio::spawn(acceptor.run());
    Listening {
        address,
        control,
        data,
        refused,
    }
}

impl Listening {
    async fn refuses(&self, count: u64) {
        let wait = async {
            while self.refused.load(Relaxed) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    }

    fn dialer(&self, identity: Identity, security: Security) -> Dialer {
        Dialer::new(
            identity,
            security,
            Addresses::configured([("n1", self.address.clone()), ("n9", self.address.clone())]),
        )
    }
}

#[tokio::test]
async fn both_kinds_of_connection_reach_their_queue_with_the_peers_proven_name() {
    let authority = Authority::new();
    let mut node = listen(identity("n1"), Security::Tls(authority.tls(&identity("n1")))).await;
    let dialer = node.dialer(identity("n2"), Security::Tls(authority.tls(&identity("n2"))));
    let mut ours = dialer.dial("n1", Kind::Control).await.unwrap();
    let mut theirs = node.control.next().await.unwrap().unwrap();
    assert_eq!(theirs.peer, PeerIdentity { name: Some("n2".into()) });
    ours.write_all(b"ping").await.unwrap();
    let mut read = [0; 4];
    theirs.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"ping", "the four bytes of the kind are not left in the stream");

    let mut ours = dialer.dial("n1", Kind::Data).await.unwrap();
    let mut theirs = node.data.next().await.unwrap().unwrap();
    theirs.write_all(b"pong").await.unwrap();
    ours.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"pong");
}

#[tokio::test]
async fn who_is_no_node_of_the_cluster_is_in_the_audit_log() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("audit.jsonl");
    let audit = crate::audit::Audit::open(crate::audit::Settings {
        path: path.clone(),
        rotate_bytes: 1 << 20,
        keep: 1,
        refusals_max: 10,
        node: "n1".into(),
    })
    .unwrap();
    let (ours, foreign) = (Authority::new(), Authority::new());
    let security = Security::Tls(ours.tls(&identity("n1")));
    let bound = Acceptor::bind("127.0.0.1:0", identity("n1"), security, Handle::current()).await;
    let (acceptor, _control, _data) = bound.unwrap();
    let node = acceptor.local_addr().unwrap().to_string();
    let refused = acceptor.refused();
    tokio::spawn(acceptor.audited_by(audit.clone()).run());
    let dialer = Dialer::new(
        identity("n2"),
        Security::Tls(foreign.tls(&identity("n2"))),
        Addresses::configured([("n1", node)]),
    );
    assert!(dialer.dial("n1", Kind::Control).await.is_err());
    let wait = async {
        while refused.load(Relaxed) < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), wait).await.unwrap();
    tokio::task::spawn_blocking(move || audit.finish()).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let record = text.lines().find(|line| line.contains("\"step\":\"cluster\"")).expect(&text);
    assert!(
        record.contains("TLS handshake failed") && record.contains("127.0.0.1"),
        "{record}"
    );
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_by_both_ends() {
    let (ours, foreign) = (Authority::new(), Authority::new());
    let node = listen(identity("n1"), Security::Tls(ours.tls(&identity("n1")))).await;
    let dialer = node.dialer(identity("n2"), Security::Tls(foreign.tls(&identity("n2"))));
    let error = dialer.dial("n1", Kind::Control).await.err().unwrap();
    assert!(
        matches!(error, Error::Handshake { .. }) && explain(&error).contains("UnknownIssuer"),
        "{}",
        explain(&error)
    );
    node.refuses(1).await;

    // A dialer that would accept the server: its own certificate is what is refused.
    let mut both = foreign.tls(&identity("n2"));
    let trusting = ours.tls(&identity("n2")).client;
    let mut client = (*both.client).clone();
    client.dangerous().set_certificate_verifier(verifier_of(&ours));
    drop(trusting);
    both.client = std::sync::Arc::new(client);
    let dialer = node.dialer(identity("n2"), Security::Tls(both));
    if let Ok(mut io) = dialer.dial("n1", Kind::Control).await {
        assert!(io.read_u8().await.is_err(), "nothing is served");
    }
    node.refuses(2).await;
}

fn verifier_of(authority: &Authority) -> std::sync::Arc<dyn rustls::client::danger::ServerCertVerifier> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    std::sync::Arc::new(tls::PeerVerifier::new("c", std::sync::Arc::new(roots), std::path::Path::new("ca")).unwrap())
}

#[tokio::test]
async fn a_certificate_of_another_cluster_is_refused_by_both_ends() {
    let authority = Authority::new();
    let node = listen(identity("n1"), Security::Tls(authority.tls(&identity("n1")))).await;
    let other = Identity::new("other", "n2").unwrap();
    let dialer = node.dialer(other.clone(), Security::Tls(authority.tls(&other)));
    let error = dialer.dial("n1", Kind::Control).await.err().unwrap();
    let text = explain(&error);
    assert!(text.contains("ringfort://c/n1, not for ringfort://other/*"), "{text}");
    node.refuses(1).await;
}

#[tokio::test]
async fn a_node_that_is_not_the_one_that_was_dialed_is_refused() {
    let authority = Authority::new();
    let node = listen(identity("n1"), Security::Tls(authority.tls(&identity("n1")))).await;
    let dialer = node.dialer(identity("n2"), Security::Tls(authority.tls(&identity("n2"))));
    let error = dialer.dial("n9", Kind::Data).await.err().unwrap();
    assert!(matches!(error, Error::WrongPeer { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("ringfort://c/n1") && text.contains("expected ringfort://c/n9"),
        "{text}"
    );
}

#[tokio::test]
async fn strangers_get_nothing() {
    let authority = Authority::new();
    let node = listen(identity("n1"), Security::Tls(authority.tls(&identity("n1")))).await;
    let mut http = TcpStream::connect(&node.address).await.unwrap();
    http.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    node.refuses(1).await;

    let plain = listen(identity("n1"), Security::Plain).await;
    let mut http = TcpStream::connect(&plain.address).await.unwrap();
    http.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    plain.refuses(1).await;
    let mut answer = Vec::new();
    let _ = http.read_to_end(&mut answer).await;
    assert_eq!(answer, b"");
}

#[tokio::test]
async fn whoever_says_nothing_is_dropped_after_five_seconds_on_either_side() {
    let node = listen(identity("n1"), Security::Plain).await;
    let mut silent = TcpStream::connect(&node.address).await.unwrap();
    let dropped = async { assert_eq!(silent.read(&mut [0; 1]).await.unwrap_or(0), 0) };

    let authority = Authority::new();
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addresses = Addresses::configured([("n1", mute.local_addr().unwrap().to_string())]);
    let dialer = Dialer::new(identity("n2"), Security::Tls(authority.tls(&identity("n2"))), addresses);
    let given_up = async {
        let error = dialer.dial("n1", Kind::Control).await.err().unwrap();
        assert!(matches!(error, Error::TooSlow { .. }), "{error}");
    };
    let both = async { tokio::join!(dropped, given_up) };
    tokio::time::timeout(IDENTIFY_WITHIN + Duration::from_secs(2), both)
        .await
        .unwrap();
}

#[tokio::test]
async fn what_a_node_says_of_itself_goes_before_the_configuration_which_is_not_forgotten() {
    let addresses = Addresses::configured([("n1", "127.0.0.1:1")]);
    assert!(addresses.learn("n1", "127.0.0.1:2") && addresses.get("n1").as_deref() == Some("127.0.0.1:2"));
    assert!(addresses.learn("n1", "127.0.0.1:1") && !addresses.learn("n1", "127.0.0.1:1"));
    assert!(
        addresses.learn("n2", "127.0.0.1:2") && !addresses.learn("n2", "127.0.0.1:2") && addresses.learn("n2", "127.0.0.1:3")
    );
    assert_eq!(
        (addresses.get("n1").as_deref(), addresses.get("n2").as_deref()),
        (Some("127.0.0.1:1"), Some("127.0.0.1:3"))
    );
    let peers = PeerChannels::new(
        Dialer::new(identity("n3"), Security::Plain, addresses.clone()),
        Handle::current(),
    );
    assert!(peers.channel("n2").is_some());
    assert!(peers.channel("n4").is_none());
    peers.forget("n1");
    peers.forget("n2");
    assert_eq!(addresses.names(), ["n1"]);
}

#[tokio::test]
async fn a_node_that_is_not_where_it_said_is_looked_for_where_it_is_configured() {
    let node = listen(identity("n1"), Security::Plain).await;
    let addresses = Addresses::configured([("n1", node.address.clone())]);
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(addresses.learn("n1", &gone.to_string()));
    let dialer = Dialer::new(identity("n2"), Security::Plain, addresses);
    assert!(dialer.dial("n1", Kind::Control).await.is_ok());
}

#[test]
fn without_tls_every_address_has_to_be_a_loopback_address() {
    assert!(Security::plain(["127.0.0.1:7400", "[::1]:7400", "localhost:7400", "127.0.0.9:1"]).is_ok());
    for address in [
        "0.0.0.0:7400",
        "10.0.0.1:7400",
        "n1.example:7400",
        "[::]:7400",
        "localhost.example:1",
    ] {
        let error = Security::plain(["127.0.0.1:7400", address]).unwrap_err().to_string();
        assert!(error.contains(address) && error.contains("[cluster.tls]"), "{error}");
    }
}

#[test]
fn a_name_that_cannot_stand_in_a_certificate_is_refused() {
    assert!(Identity::new("my-cluster_1.eu", "n1").is_ok());
    for (cluster, name) in [
        ("", "n1"),
        ("c", ""),
        ("c/x", "n1"),
        ("c", "n 1"),
        ("c", "é"),
        (&*"c".repeat(65), "n1"),
    ] {
        assert!(Identity::new(cluster, name).is_err(), "{cluster:?} {name:?}");
    }
}

#[test]
fn each_unusable_file_is_named_with_what_is_wrong_and_the_remedy() {
    let (authority, foreign) = (Authority::new(), Authority::new());
    let good = authority.files(&["ringfort://c/n1"]);
    let load = |files: &TlsFiles| ClusterTls::load(&identity("n1"), files).err().map(|error| error.to_string());
    let says = |files: &TlsFiles, file: &std::path::Path, part: &str| {
        let error = load(files).unwrap_or_default();
        assert!(
            error.starts_with(&file.display().to_string()) && error.contains(part),
            "{error}"
        );
    };
    assert_eq!(load(&good), None);

    let missing = good.ca.with_file_name("missing.pem");
    says(
        &TlsFiles {
            ca: missing.clone(),
            ..good.clone()
        },
        &missing,
        "give a readable PEM file",
    );
    says(
        &TlsFiles {
            key: missing.clone(),
            ..good.clone()
        },
        &missing,
        "no usable private key",
    );
    let empty = good.ca.with_file_name("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    says(
        &TlsFiles {
            certificate: empty.clone(),
            ..good.clone()
        },
        &empty,
        "no certificate in it",
    );
    let other = authority.files(&["ringfort://c/n2"]);
    says(
        &other,
        &other.certificate,
        "made for ringfort://c/n2, this node is ringfort://c/n1",
    );
    says(
        &TlsFiles {
            key: other.key.clone(),
            ..good.clone()
        },
        &other.key,
        "not the key of",
    );
    let none = authority.files(&["https://c/n1"]);
    says(&none, &none.certificate, "made for no ringfort:// URI");
    let two = authority.files(&["ringfort://c/n1", "ringfort://c/n2"]);
    says(&two, &two.certificate, "ringfort://c/n1 and ringfort://c/n2");
    let strange = foreign.files(&["ringfort://c/n1"]);
    says(
        &TlsFiles {
            ca: good.ca.clone(),
            ..strange.clone()
        },
        &strange.certificate,
        "not signed by the authority",
    );
}
