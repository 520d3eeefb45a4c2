use std::{
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
};

use clap::CommandFactory;
use rustls::{RootCertStore, client::WebPkiServerVerifier, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::*;
use crate::{
    client::tests::router::Router,
    wamp::{Dict, Value},
};

/// Runs a command line as the process would.
fn run(arguments: &[&str]) -> Result<(), Failure> {
    let parsed = Arguments::try_parse_from(std::iter::once(&"ringfort").chain(arguments));
    parsed.unwrap_or_else(|error| panic!("{error}")).command.run()
}

/// What the parser says to a wrong command line.
fn wrong(arguments: &[&str]) -> String {
    Arguments::try_parse_from(std::iter::once(&"ringfort").chain(arguments))
        .map(drop)
        .unwrap_err()
        .to_string()
}

#[test]
fn the_command_line_is_well_formed() {
    Arguments::command().debug_assert();
}

#[test]
fn wrong_command_lines_are_explained() {
    assert!(wrong(&["call"]).contains("<URI>"));
    assert!(wrong(&["call", "a.b", "{bad"]).contains("not readable as JSON"));
    assert!(wrong(&["call", "a.b", "--kwargs", "[1]"]).contains("a JSON object"));
    assert!(wrong(&["call", "a.b", "--url", "http://x"]).contains("ws://"));
    assert!(wrong(&["call", "a.b", "--ticket-file", "x"]).contains("--authid"));
    assert!(wrong(&["register", "a.b"]).contains("--reply"));
    assert!(wrong(&["register", "a.b", "--echo", "--reply", "1"]).contains("cannot be used with"));
    assert!(wrong(&["ca", "node", "--dir", "x"]).contains("--name"));
}

#[test]
fn arguments_become_values_and_back() {
    let value = |text: &str| json::argument(text).unwrap();
    assert_eq!(value("true"), Value::Bool(true));
    assert_eq!(value("-7"), Value::Integer(-7));
    assert_eq!(value("18446744073709551615"), Value::Integer(u64::MAX.into()));
    assert_eq!(value("word"), Value::from("word"));
    assert_eq!(value("\"true\""), Value::from("true"));
    assert_eq!(value("\"\\u0000AAE=\""), Value::Binary(vec![0, 1]));
    for text in [
        "null",
        "1.5",
        "[1,[2,{\"a\":\"ü\"}]]",
        "\"\\u0000AAE=\"",
        "-9223372036854775808",
    ] {
        assert_eq!(json::to_json(&value(text)).to_string(), text);
    }
    assert_eq!(json::payload(&[], &Dict::new()).to_string(), "null");
    assert_eq!(
        json::payload(&[value("1"), value("2")], &Dict::new()).to_string(),
        r#"{"args":[1,2],"kwargs":{}}"#
    );
}

#[test]
fn client_commands_speak_to_a_router() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let router = runtime.block_on(Router::start(None));
    for (scheme, serializer) in [("ws", "json"), ("tcp", "msgpack"), ("ws", "cbor")] {
        let url = router.url(scheme);
        let to = ["--url", &url, "--serializer", serializer];
        run(&[&["call", "echo", "1", "-2", "word", "--kwargs", "{\"a\":[]}"][..], &to].concat()).unwrap();
        run(&[&["publish", "topic", "true"][..], &to].concat()).unwrap();
        let failure = run(&[&["call", "none"][..], &to].concat()).unwrap_err();
        assert_eq!((failure.code, failure.text.as_str()), (1, "wamp.error.no_such_procedure"));
        run(&[&["subscribe", "topic", "--for", "0"][..], &to].concat()).unwrap();
        run(&[&["register", "mine", "--echo", "--for", "0"][..], &to].concat()).unwrap();
    }
    let failure = run(&["call", "echo", "--url", &router.url("ws"), "--realm", "nowhere"]).unwrap_err();
    assert!(failure.text.contains("wamp.error.no_such_realm"), "{failure}");
}

#[test]
fn tickets_come_from_a_file() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let router = runtime.block_on(Router::start(None));
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    let call = |path: &str| {
        run(&[
            "call",
            "echo",
            "--url",
            &router.url("ws"),
            "--authid",
            "lamp",
            "--ticket-file",
            path,
        ])
    };
    std::fs::write(file.path(), "open sesame\n").unwrap();
    call(&path).unwrap();
    std::fs::write(file.path(), "wrong").unwrap();
    let failure = call(&path).unwrap_err();
    assert!(
        failure.text.contains("authentication_failed") && !failure.text.contains("wrong"),
        "{failure}"
    );
    assert_eq!(call("/none/ticket").unwrap_err().code, 2);
}

#[test]
fn the_authority_makes_certificates_that_rustls_takes_both_ways() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().display().to_string();
    run(&["ca", "init", "--cluster-id", "home-1", "--out", &out]).unwrap();
    run(&[
        "ca",
        "node",
        "--dir",
        &out,
        "--name",
        "n1",
        "--host",
        "n1.example.org,10.0.0.1",
    ])
    .unwrap();
    run(&["ca", "node", "--dir", &out, "--name", "n2"]).unwrap();

    let der = |name: &str| CertificateDer::from_pem_file(directory.path().join(name)).unwrap();
    let leaf = der("n1.pem");
    let (_, parsed) = X509Certificate::from_der(&leaf).unwrap();
    let names = &parsed.subject_alternative_name().unwrap().unwrap().value.general_names;
    assert!(names.contains(&GeneralName::URI("ringfort://home-1/n1")), "{names:?}");

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(der("ca.pem")).unwrap();
    let roots = Arc::new(roots);
    let client = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
        .build()
        .unwrap();
    client.verify_client_cert(&leaf, &[], UnixTime::now()).unwrap();
    let server = WebPkiServerVerifier::builder_with_provider(roots, provider).build().unwrap();
    let verify = |name: &'static str| {
        use rustls::client::danger::ServerCertVerifier;
        server.verify_server_cert(&leaf, &[], &ServerName::try_from(name).unwrap(), &[], UnixTime::now())
    };
    verify("n1.example.org").unwrap();
    verify("10.0.0.1").unwrap();
    verify("n2.example.org").unwrap_err();
    // The authority's own certificate is none for a node.
    client.verify_client_cert(&der("ca.pem"), &[], UnixTime::now()).unwrap_err();

    assert_eq!(mode(&directory.path().join("ca.key")), 0o600);
    assert_eq!(mode(&directory.path().join("n1.key")), 0o600);
    assert_eq!(mode(&directory.path().join("n1.pem")), 0o644);

    let file = |name: &str| directory.path().join(name).display().to_string();
    let text = |certificate: &str| {
        let (ca, certificate, key) = (file("ca.pem"), file(certificate), file("n1.key"));
        format!(
            "[[realm]]\nname = \"r\"\n[cluster]\nid = \"home-1\"\ntls = {{ ca = {ca:?}, certificate = {certificate:?}, key = {key:?} }}\n"
        )
    };
    let config = file("n1.toml");
    std::fs::write(&config, text("n1.pem")).unwrap();
    run(&["check", &config]).unwrap();
    run(&["doctor", "--config", &config]).unwrap();
    std::fs::write(&config, text("n2.pem")).unwrap();
    assert_eq!(run(&["check", &config]).unwrap_err().code, 5);
}

#[test]
fn a_node_is_certified_by_an_authority_that_others_made_and_anew_where_that_is_wanted() {
    use rcgen::{BasicConstraints, CertificateParams, DnType, DnValue, IsCa, KeyPair};
    use rustls::client::danger::ServerCertVerifier;
    // As charts make it: another kind of text in the name, no organization, an Ed25519 key.
    let directory = tempfile::tempdir().unwrap();
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let mut params = CertificateParams::default();
    let name = DnValue::PrintableString("ringfort cluster home-1".try_into().unwrap());
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = params.self_signed(&key).unwrap();
    std::fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(directory.path().join("ca.key"), key.serialize_pem()).unwrap();

    let (pki, out) = (directory.path().display().to_string(), directory.path().join("out"));
    let shown = out.display().to_string();
    let mut arguments = vec![
        "ca",
        "node",
        "--dir",
        &pki,
        "--name",
        "n1",
        "--host",
        "n1.example.org",
        "--out",
        &shown,
    ];
    run(&arguments).unwrap();
    assert!(!directory.path().join("n1.pem").exists());
    let first = std::fs::read(out.join("n1.key")).unwrap();
    assert!(run(&arguments).unwrap_err().text.contains("exists already"));
    assert_eq!(std::fs::read(out.join("n1.key")).unwrap(), first);
    arguments.push("--replace");
    run(&arguments).unwrap();
    assert_ne!(std::fs::read(out.join("n1.key")).unwrap(), first);
    assert_eq!(mode(&out.join("n1.key")), 0o600);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2, "no draft is left behind");

    let mut roots = RootCertStore::empty();
    roots.add(ca.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let leaf = CertificateDer::from_pem_file(out.join("n1.pem")).unwrap();
    let server = ServerName::try_from("n1.example.org").unwrap();
    verifier
        .verify_server_cert(&leaf, &[], &server, &[], UnixTime::now())
        .unwrap();
}

#[test]
fn certificates_and_keys_are_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().display().to_string();
    let keygen = ["keygen", "--out", &out, "--host", "localhost"];
    run(&keygen).unwrap();
    let key = std::fs::read(directory.path().join("server.key")).unwrap();
    std::fs::remove_file(directory.path().join("server.pem")).unwrap();
    let failure = run(&keygen).unwrap_err();
    assert!(
        failure.code == 5 && failure.text.contains("server.key exists already"),
        "{failure}"
    );
    assert_eq!(std::fs::read(directory.path().join("server.key")).unwrap(), key);
    assert!(
        !directory.path().join("server.pem").exists(),
        "nothing is written beside a file that stays"
    );
    assert_eq!(mode(&directory.path().join("server.key")), 0o600);
    assert!(
        run(&["keygen", "--out", &out, "--host", "a b"])
            .unwrap_err()
            .text
            .contains("neither an IP address")
    );
    assert!(
        run(&["ca", "node", "--dir", &out, "--name", "n1"])
            .unwrap_err()
            .text
            .contains("ringfort ca init")
    );
    assert_eq!(
        run(&["ca", "init", "--cluster-id", "a/b", "--out", &out]).unwrap_err().code,
        2
    );
}

#[test]
fn a_wrong_configuration_ends_serve_and_check_alike() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("n1.toml");
    std::fs::write(&file, "[[realm]]\nnmae = \"r\"\n").unwrap();
    let path = file.display().to_string();
    for arguments in [
        &["serve", "--config", &path][..],
        &["check", &path],
        &["doctor", "--config", &path],
    ] {
        let failure = run(arguments).unwrap_err();
        assert_eq!(failure.code, 3);
        assert!(failure.text.contains("did you mean name?"), "{failure}");
    }
}

#[test]
fn a_schema_that_is_none_ends_serve_and_check_alike() {
    let directory = tempfile::tempdir().unwrap();
    let (file, schema) = (directory.path().join("n1.toml"), directory.path().join("lamp.json"));
    std::fs::write(&schema, r#"{"call": {"args": {"type": "intege"}}}"#).unwrap();
    let text = format!(
        "[[realm]]\nname = \"r\"\n[[realm.definitions]]\nuri = \"com.lamp\"\nfile = {:?}\n",
        schema.display().to_string()
    );
    std::fs::write(&file, text).unwrap();
    let path = file.display().to_string();
    for arguments in [&["serve", "--config", &path][..], &["check", &path]] {
        let failure = run(arguments).unwrap_err();
        assert_eq!(failure.code, 3);
        assert!(
            failure.text.contains("com.lamp") && failure.text.contains("call: args: not a JSON Schema"),
            "{failure}"
        );
    }
}

#[test]
fn healthcheck_tells_ready_from_not_ready() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for answer in [
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            "SSH-2.0-x\r\n",
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 512];
            let count = stream.read(&mut head).unwrap();
            assert!(head[..count].starts_with(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:"));
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let url = format!("http://{address}/readyz");
    run(&["healthcheck", "--url", &url]).unwrap();
    assert!(
        run(&["healthcheck", "--url", &url])
            .unwrap_err()
            .text
            .contains("it answered 503")
    );
    assert!(
        run(&["healthcheck", "--url", &url])
            .unwrap_err()
            .text
            .contains("no web server")
    );
    server.join().unwrap();
    assert_eq!(run(&["healthcheck", "--url", "https://localhost/"]).unwrap_err().code, 2);
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
