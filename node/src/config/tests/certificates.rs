//! Checks of certificate and key files.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

use super::{REALM, load};

/// Writes a CA and a node certificate for `uri` into `directory`.
fn authority(directory: &Path, uri: &str) {
    let (ca_key, node_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, format!("authority of {uri}"));
    let ca = params.self_signed(&ca_key).unwrap();
    let mut node = CertificateParams::new(Vec::new()).unwrap();
    node.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
    let node = node.signed_by(&node_key, &Issuer::from_params(&params, &ca_key)).unwrap();
    fs::write(directory.join("ca.pem"), ca.pem()).unwrap();
    fs::write(directory.join("ca.key"), ca_key.serialize_pem()).unwrap();
    fs::write(directory.join("n1.pem"), node.pem()).unwrap();
    fs::write(directory.join("n1.key"), node_key.serialize_pem()).unwrap();
}

fn cluster(directory: &Path, ca: &str, certificate: &str, key: &str) -> Result<(), String> {
    let file = |name: &str| directory.join(name).display().to_string();
    let (ca, certificate, key) = (file(ca), file(certificate), file(key));
    let text =
        format!("{REALM}[cluster]\nid = \"c1\"\n[cluster.tls]\nca = {ca:?}\ncertificate = {certificate:?}\nkey = {key:?}\n");
    load(&text, &[]).map(drop)
}

#[test]
fn the_certificates_of_a_node_are_checked_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path();
    authority(here, "ringfort://c1/n1");
    cluster(here, "ca.pem", "n1.pem", "n1.key").unwrap();

    let report = cluster(here, "ca.pem", "none.pem", "n1.key").unwrap_err();
    assert!(
        report.contains("cluster.tls.certificate = ") && report.contains("none.pem: no such file"),
        "{report}"
    );
    let report = cluster(here, "ca.pem", "n1.key", "n1.key").unwrap_err();
    assert!(
        report.contains("cluster.tls.certificate") && report.contains("holds no"),
        "{report}"
    );
    let report = cluster(here, "ca.pem", "n1.pem", "ca.key").unwrap_err();
    assert!(
        report.contains("cluster.tls.key: does not belong to the certificate"),
        "{report}"
    );
    fs::write(
        here.join("bad.pem"),
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    )
    .unwrap();
    let report = cluster(here, "bad.pem", "n1.pem", "n1.key").unwrap_err();
    assert!(
        report.contains("cluster.tls.ca") && report.contains("no X.509 certificate"),
        "{report}"
    );
}

#[test]
fn a_certificate_of_another_node_cluster_or_authority_is_refused() {
    let (other, directory) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    authority(other.path(), "ringfort://c2/n1");
    authority(directory.path(), "ringfort://c1/n1");
    let report = cluster(other.path(), "ca.pem", "n1.pem", "n1.key").unwrap_err();
    assert!(report.contains("names ringfort://c2/n1, not ringfort://c1/n1"), "{report}");
    fs::copy(other.path().join("ca.pem"), directory.path().join("foreign.pem")).unwrap();
    let report = cluster(directory.path(), "foreign.pem", "n1.pem", "n1.key").unwrap_err();
    assert!(report.contains("which is not in cluster.tls.ca"), "{report}");
}

#[test]
fn a_certificate_out_of_date_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    for (not_before, not_after, expected) in [(2000, 2001, "expired on"), (4000, 4001, "not valid before")] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(not_before, 1, 1);
        params.not_after = rcgen::date_time_ymd(not_after, 1, 1);
        let (pem, key_file) = (directory.path().join("a.pem"), directory.path().join("a.key"));
        fs::write(&pem, params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(&key_file, key.serialize_pem()).unwrap();
        let text = format!("{REALM}[[listener]]\n[listener.tls]\ncertificate = {pem:?}\nkey = {key_file:?}\n");
        let report = load(&text, &[]).unwrap_err();
        assert!(
            report.contains("listener[0].tls.certificate") && report.contains(expected),
            "{report}"
        );
    }
}
