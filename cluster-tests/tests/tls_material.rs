//! The certificates of a public port, and those of its clients: shown by name, revoked for new, resumed and open connections, and a list
//! past its time; and what every port with TLS takes, seen from outside.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};
use ringfort_cluster_tests::{
    cluster::{Cluster, REALM, Setup},
    http,
    ports::free_port,
    process::{Process, binary},
    record_result,
    secrets::folder,
    tls_scan::{Findings, renegotiates, scan},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, HandshakeKind, RootCertStore,
        pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    },
};

const PATIENCE: Duration = Duration::from_secs(15);
const TICKET: &str = "shown-beside-a-certificate";

/// An authority of clients and servers.
struct Authority {
    params: CertificateParams,
    key: KeyPair,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(Self {
            params,
            key,
            certificate,
        })
    }

    fn issuer(&self) -> Issuer<'_, &KeyPair> {
        Issuer::from_params(&self.params, &self.key)
    }

    /// A certificate with this common name, these DNS names and this serial number.
    fn sign(&self, name: &str, dns: &[&str], serial: u64) -> Result<(rcgen::Certificate, KeyPair)> {
        let mut params = CertificateParams::new(dns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer())?, key))
    }

    /// A list of the revoked serial numbers that is good until the beginning of this year.
    fn list(&self, revoked: &[u64], until: i32) -> Result<String> {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2024, 2, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(until, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(params.signed_by(&self.issuer())?.pem()?)
    }
}

fn write_pair(dir: &Path, name: &str, (certificate, key): &(rcgen::Certificate, KeyPair)) -> Result<()> {
    std::fs::write(dir.join(format!("{name}.pem")), certificate.pem())?;
    std::fs::write(dir.join(format!("{name}.key")), key.serialize_pem())?;
    Ok(())
}

/// A client that believes the authority, and shows a certificate if it has one.
fn client(authority: &Authority, own: Option<&(rcgen::Certificate, KeyPair)>) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.certificate.der().clone())?;
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
            builder.with_client_auth_cert(vec![certificate.der().clone()], key)?
        }
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(connector: &TlsConnector, port: u16, name: &str) -> Result<TlsStream<TcpStream>> {
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    let name = ServerName::try_from(name.to_owned())?;
    Ok(timeout(PATIENCE, connector.connect(name, socket)).await??)
}

/// A session over RawSocket and TLS by the certificate that the connector shows.
async fn join(connector: &TlsConnector, port: u16) -> Result<TlsStream<TcpStream>> {
    let mut stream = connect(connector, port, "a.example").await?;
    stream.write_all(&[0x7F, 0xF1, 0, 0]).await?;
    let mut answer = [0; 4];
    timeout(PATIENCE, stream.read_exact(&mut answer)).await??;
    let hello = format!("[1,\"{REALM}\",{{\"authmethods\":[\"tls\"],\"roles\":{{\"caller\":{{}}}}}}]");
    stream.write_all(&(hello.len() as u32).to_be_bytes()).await?;
    stream.write_all(hello.as_bytes()).await?;
    let welcome = hear(&mut stream).await?;
    ensure!(welcome.starts_with("[2,"), "{welcome}");
    Ok(stream)
}

async fn hear(stream: &mut TlsStream<TcpStream>) -> Result<String> {
    let len = timeout(PATIENCE, stream.read_u32()).await??;
    let mut text = vec![0; len as usize];
    timeout(PATIENCE, stream.read_exact(&mut text)).await??;
    Ok(String::from_utf8(text)?)
}

/// A node with a listener for each of these lines, behind which its certificate stands.
struct Node {
    process: Process,
    ports: Vec<u16>,
    admin: String,
}

async fn node(dir: &Path, listeners: &[String]) -> Result<Node> {
    let ports: Vec<u16> = listeners.iter().map(|_| free_port()).collect();
    let admin = free_port();
    let file = |name: &str| dir.join(name);
    let mut text = format!(
        "[node]\nname = \"n1\"\n[[realm]]\nname = \"{REALM}\"\nroles = [{{ name = \"device\" }}]\n\
         [[principal]]\nrealm = \"{REALM}\"\nauthid = \"lamp\"\nrole = \"device\"\ncertificates = [\"cn:lamp\"]\n\
         [[principal]]\nrealm = \"{REALM}\"\nauthid = \"fan\"\nrole = \"device\"\ncertificates = [\"cn:fan\"]\n\
         [[principal]]\nrealm = \"{REALM}\"\nauthid = \"phone\"\nrole = \"device\"\nticket = \"{TICKET}\"\n\
         [admin]\naddress = \"127.0.0.1:{admin}\"\n[observability]\naddress = \"off\"\n"
    );
    for (lines, port) in listeners.iter().zip(&ports) {
        text += &format!(
            "[[listener]]\naddress = \"127.0.0.1:{port}\"\n[listener.tls]\ncertificate = {:?}\nkey = {:?}\n{lines}\n",
            file("a.pem"),
            file("a.key")
        );
    }
    let config = dir.join("n1.toml");
    std::fs::write(&config, text)?;
    let mut command = std::process::Command::new(binary());
    command
        .arg("serve")
        .arg("--config")
        .arg(&config)
        .args(["--ready-json", "--exit-with-stdin"]);
    let mut process = Process::start("n1", command, dir)?;
    process.first_json_line(Duration::from_secs(30)).await?;
    Ok(Node {
        process,
        ports,
        admin: format!("http://127.0.0.1:{admin}"),
    })
}

fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    let chain: &[CertificateDer<'_>] = stream.get_ref().1.peer_certificates().unwrap_or_default();
    chain.first().map(|leaf| leaf.to_vec()).unwrap_or_default()
}

#[tokio::test]
async fn the_name_a_client_asks_for_decides_which_certificate_it_is_shown() -> Result<()> {
    let dir = folder("ringfort-test-")?;
    let authority = Authority::new("servers")?;
    let pairs = [
        ("a", authority.sign("a", &["a.example"], 1)?),
        ("b", authority.sign("b", &["b.example", "*.lamps.example"], 2)?),
        ("c", authority.sign("c", &["c.example"], 3)?),
    ];
    for (name, pair) in &pairs {
        write_pair(dir.path(), name, pair)?;
    }
    let also = |name: &str| {
        let file = |end: &str| dir.path().join(format!("{name}.{end}"));
        format!(
            "[[listener.tls.also]]\ncertificate = {:?}\nkey = {:?}\n",
            file("pem"),
            file("key")
        )
    };
    let both = format!("{}{}", also("b"), also("c"));
    let node = node(dir.path(), &[both.clone(), format!("unknown_name = \"refuse\"\n{both}")]).await?;
    let connector = client(&authority, None)?;
    for port in &node.ports {
        for (asked, at) in [("a.example", 0), ("b.example", 1), ("C.Example", 2), ("one.lamps.example", 1)] {
            let stream = connect(&connector, *port, asked)
                .await
                .with_context(|| format!("{asked} on {port}"))?;
            ensure!(shown(&stream) == pairs[at].1.0.der().to_vec(), "{asked} on {port}");
        }
    }
    for unknown in ["d.example", "one.two.lamps.example", "lamps.example"] {
        let error = connect(&connector, node.ports[0], unknown)
            .await
            .err()
            .context("a wrong name")?;
        ensure!(
            format!("{error:#}").contains("not valid for name"),
            "{unknown} is shown the first one: {error:#}"
        );
        let error = connect(&connector, node.ports[1], unknown).await.err().context("a refusal")?;
        ensure!(
            format!("{error:#}").contains("alert"),
            "{unknown} is shown nothing: {error:#}"
        );
    }
    // Who asks by an address names nobody.
    let error = connect(&connector, node.ports[1], "127.0.0.1")
        .await
        .err()
        .context("a refusal")?;
    ensure!(format!("{error:#}").contains("alert"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn a_revoked_certificate_ends_its_sessions_and_opens_no_more_and_nobody_else_notices() -> Result<()> {
    let dir = folder("ringfort-test-")?;
    let authority = Authority::new("devices")?;
    write_pair(dir.path(), "a", &authority.sign("a", &["a.example"], 1)?)?;
    let (lamp, fan) = (authority.sign("lamp", &[], 7)?, authority.sign("fan", &[], 8)?);
    std::fs::write(dir.path().join("ca.pem"), authority.certificate.pem())?;
    let list = dir.path().join("ca.crl");
    std::fs::write(&list, authority.list(&[99], 2090)?)?;
    let lines = format!(
        "client_certificates = \"required\"\nclient_ca = {:?}\nclient_crl = {list:?}\n",
        dir.path().join("ca.pem")
    );
    let mut node = node(dir.path(), &[lines]).await?;
    let port = node.ports[0];
    let (as_lamp, as_fan) = (client(&authority, Some(&lamp))?, client(&authority, Some(&fan))?);
    let mut open = join(&as_lamp, port).await?;
    let mut other = join(&as_fan, port).await?;
    let again = join(&as_lamp, port).await?;
    ensure!(
        again.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed),
        "a ticket is worth something before: {:?}",
        again.get_ref().1.handshake_kind()
    );
    drop(again);

    let begun = Instant::now();
    std::fs::write(&list, authority.list(&[99, 7], 2090)?)?;
    let goodbye = hear(&mut open).await?;
    let took = begun.elapsed();
    ensure!(
        goodbye.starts_with("[6,") && goodbye.contains("wamp.close.killed"),
        "{goodbye}"
    );
    ensure!(took < Duration::from_secs(6), "{took:?}");
    let resumed = join(&as_lamp, port).await;
    ensure!(resumed.is_err(), "a ticket from before the revocation");
    ensure!(
        join(&client(&authority, Some(&lamp))?, port).await.is_err(),
        "a new handshake"
    );

    // Somebody else's session goes on, and so do its tickets.
    let call = format!("[48,1,{{}},\"wamp.session.get\",[{}]]", 1);
    other.write_all(&(call.len() as u32).to_be_bytes()).await?;
    other.write_all(call.as_bytes()).await?;
    ensure!(hear(&mut other).await?.starts_with("[8,48,1"), "denied, but answered");
    join(&as_fan, port).await.context("somebody else")?;
    let status = http::get_json(&format!("{}/status", node.admin)).await?;
    ensure!(status["tls"]["sessions_revoked"] == 1, "{status}");
    record_result(
        "tls-revocation",
        &format!("an open session ended {:.1} s after the list was written", took.as_secs_f64()),
    );
    ensure!(node.process.exited().is_none());
    Ok(())
}

/// Posts to the long-poll transport on a connection that stays open; the status and the body.
async fn post(stream: &mut TlsStream<TcpStream>, path: &str, body: &[u8]) -> Result<(u16, String)> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await??);
    }
    let head = String::from_utf8(head)?.to_ascii_lowercase();
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.map_or(Ok(0), str::parse)?];
    timeout(PATIENCE, stream.read_exact(&mut body)).await??;
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

#[tokio::test]
async fn a_revoked_certificate_ends_what_polls_by_it_and_all_of_it_is_in_the_audit_log() -> Result<()> {
    let dir = folder("ringfort-test-")?;
    let authority = Authority::new("devices")?;
    write_pair(dir.path(), "a", &authority.sign("a", &["a.example"], 1)?)?;
    let lamp = authority.sign("lamp", &[], 7)?;
    std::fs::write(dir.path().join("ca.pem"), authority.certificate.pem())?;
    let (list, audit) = (dir.path().join("ca.crl"), dir.path().join("audit.jsonl"));
    std::fs::write(&list, authority.list(&[99], 2090)?)?;
    let lines = format!(
        "client_certificates = \"required\"\nclient_ca = {:?}\nclient_crl = {list:?}\n[listener.longpoll]\n[audit]\npath = {audit:?}\n",
        dir.path().join("ca.pem")
    );
    let node = node(dir.path(), &[lines]).await?;
    let (port, as_lamp) = (node.ports[0], client(&authority, Some(&lamp))?);
    let mut session = join(&as_lamp, port).await?;
    let protocols = br#"{"protocols": ["wamp.2.json"]}"#;
    let mut polling = connect(&as_lamp, port, "a.example").await?;
    let (status, opened) = post(&mut polling, "/lp/open", protocols).await?;
    ensure!(status == 200, "{status} {opened}");
    let opened: serde_json::Value = serde_json::from_str(&opened)?;
    let transport = opened["transport"].as_str().context("a transport")?;

    let (sends, receives) = (format!("/lp/{transport}/send"), format!("/lp/{transport}/receive"));
    let hello = format!("[1,\"{REALM}\",{{\"authmethods\":[\"ticket\"],\"authid\":\"phone\",\"roles\":{{\"caller\":{{}}}}}}]");
    for (says, hears) in [(hello, "[4,"), (format!("[5,\"{TICKET}\",{{}}]"), "[2,")] {
        post(&mut polling, &sends, says.as_bytes()).await?;
        let heard = post(&mut polling, &receives, b"").await?.1;
        ensure!(heard.starts_with(hears), "{heard}");
    }

    std::fs::write(&list, authority.list(&[99, 7], 2090)?)?;
    let begun = Instant::now();
    while !post(&mut polling, &receives, b"").await?.1.contains("wamp.close.killed") {
        ensure!(begun.elapsed() < PATIENCE, "what polls goes on");
    }
    let (status, text) = post(&mut polling, "/lp/open", protocols).await?;
    ensure!(
        status == 403,
        "a connection from before the revocation opens another: {status} {text}"
    );
    ensure!(hear(&mut session).await?.contains("wamp.close.killed"));
    ensure!(join(&as_lamp, port).await.is_err());

    let begun = Instant::now();
    loop {
        let text = std::fs::read_to_string(&audit)?;
        let mut records = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut has = |kind: &str, key: &str, value: &str, who: &str| {
            records.any(|record| record["kind"] == kind && record[key] == value && record[who].is_string())
        };
        if has("revoked", "reason", "its client certificate was revoked", "authid") && text.contains("client certificate revoked")
        {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "not in the audit log:\n{text}");
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

#[tokio::test]
async fn a_list_past_its_time_counts_or_stops_as_the_setting_says() -> Result<()> {
    let dir = folder("ringfort-test-")?;
    let authority = Authority::new("devices")?;
    write_pair(dir.path(), "a", &authority.sign("a", &["a.example"], 1)?)?;
    let (lamp, fan) = (authority.sign("lamp", &[], 7)?, authority.sign("fan", &[], 8)?);
    std::fs::write(dir.path().join("ca.pem"), authority.certificate.pem())?;
    let list = dir.path().join("ca.crl");
    std::fs::write(&list, authority.list(&[7], 2090)?)?;
    let lines = format!(
        "client_certificates = \"required\"\nclient_ca = {:?}\nclient_crl = {list:?}\n",
        dir.path().join("ca.pem")
    );
    let node = node(dir.path(), &[lines.clone(), format!("{lines}crl_expired = \"refuse\"\n")]).await?;
    let (as_lamp, as_fan) = (client(&authority, Some(&lamp))?, client(&authority, Some(&fan))?);
    for port in &node.ports {
        join(&as_fan, *port).await.context("while the list is good")?;
        ensure!(join(&as_lamp, *port).await.is_err(), "revoked");
    }
    let mut open = join(&as_fan, node.ports[1]).await?;
    std::fs::write(&list, authority.list(&[7], 2025)?)?;
    let begun = Instant::now();
    while join(&as_fan, node.ports[1]).await.is_ok() {
        ensure!(begun.elapsed() < PATIENCE, "never refused");
        sleep(Duration::from_millis(200)).await;
    }
    join(&as_fan, node.ports[0]).await.context("where an old list is accepted")?;
    ensure!(
        join(&as_lamp, node.ports[0]).await.is_err(),
        "revoked by an old list is revoked"
    );
    ensure!(
        timeout(Duration::from_millis(500), hear(&mut open)).await.is_err(),
        "an open session goes on"
    );
    ensure!(node.process.stderr().contains("past its time"), "{}", node.process.log_tail());
    std::fs::write(&list, authority.list(&[7], 2091)?)?;
    let begun = Instant::now();
    while join(&as_fan, node.ports[1]).await.is_err() {
        ensure!(begun.elapsed() < PATIENCE, "a new list opens the door again");
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// The suites of TLS 1.2 that have forward secrecy and authenticated encryption, and nothing else.
const MODERN_12: [u16; 6] = [0xC02B, 0xC02C, 0xC02F, 0xC030, 0xCCA8, 0xCCA9];
const MODERN_13: [u16; 3] = [0x1301, 0x1302, 0x1303];

fn assert_modern(what: &str, findings: &Findings, versions: &[u16]) {
    record_result(&format!("tls-scan-{what}"), &format!("{findings:04x?}"));
    assert_eq!(findings.versions, versions, "{what}");
    assert!(
        findings.suites_12.iter().all(|suite| MODERN_12.contains(suite)),
        "{what}: {findings:x?}"
    );
    assert!(
        findings.suites_13.iter().all(|suite| MODERN_13.contains(suite)),
        "{what}: {findings:x?}"
    );
    assert!(!findings.compression, "{what}");
}

#[tokio::test]
async fn every_port_with_tls_takes_modern_versions_and_suites_only() -> Result<()> {
    let mut cluster = Cluster::prepare(Setup::DisksAndTls, "cluster-scanned")?;
    let ca = cluster.dir().join("ca");
    let port = free_port();
    let file = cluster.config_path(0);
    let text = std::fs::read_to_string(&file)?;
    let listener = format!(
        "\n[[listener]]\naddress = \"127.0.0.1:{port}\"\n[listener.tls]\ncertificate = {:?}\nkey = {:?}\n",
        ca.join("n1.pem"),
        ca.join("n1.key")
    );
    std::fs::write(&file, format!("{text}{listener}"))?;
    for node in 0..3 {
        cluster.launch(node)?;
    }
    cluster.wait_ready(0).await?;
    let cluster_port = text
        .split("[cluster]")
        .nth(1)
        .and_then(|rest| rest.split("127.0.0.1:").nth(1))
        .and_then(|rest| rest.split('"').next())
        .context("the port between nodes")?
        .parse::<u16>()?;
    let scanned = tokio::task::spawn_blocking(move || -> Result<_> {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Ok((scan(at(port))?, renegotiates(at(port))?, scan(at(cluster_port))?))
    });
    let (public, renegotiated, between) = scanned.await??;
    assert_modern("public", &public, &[0x0303, 0x0304]);
    assert!(!public.suites_12.is_empty() && !public.suites_13.is_empty(), "{public:x?}");
    assert!(!renegotiated, "the public port begins another handshake");
    assert_modern("between-nodes", &between, &[0x0304]);
    // The admin port has no TLS and is reached from this machine only.
    assert!(cluster.nodes[0].admin.starts_with("http://127.0.0.1:"));
    Ok(())
}
