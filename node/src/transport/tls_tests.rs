use std::fs;

use super::*;

fn files() -> (tempfile::TempDir, TlsFiles) {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: dir.path().join("x.pem"),
        key: dir.path().join("x.key"),
        clients: ClientCertificates::Off,
        revoked: None,
    };
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (dir, files)
}

fn message(files: &TlsFiles) -> String {
    acceptor(files).err().expect("an error").to_string()
}

#[test]
fn a_certificate_and_its_key_are_accepted() {
    let (_dir, files) = files();
    assert!(acceptor(&files).is_ok());
}

#[test]
fn errors_name_the_file_and_the_remedy() {
    let (dir, good) = files();
    let missing = TlsFiles {
        certificate: dir.path().join("missing.pem"),
        ..good.clone()
    };
    assert!(message(&missing).contains("missing.pem; check that the file exists"));

    let swapped = TlsFiles {
        certificate: good.key.clone(),
        key: good.key.clone(),
        clients: ClientCertificates::Off,
        revoked: None,
    };
    assert!(message(&swapped).contains("x.key holds no certificate in PEM form"));
    let swapped = TlsFiles {
        certificate: good.certificate.clone(),
        key: good.certificate.clone(),
        clients: ClientCertificates::Off,
        revoked: None,
    };
    assert!(message(&swapped).contains("x.pem holds no private key in PEM form"));

    let damaged = dir.path().join("damaged.pem");
    fs::write(&damaged, "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n").unwrap();
    assert!(
        message(&TlsFiles {
            certificate: damaged,
            ..good.clone()
        })
        .contains("damaged.pem is damaged")
    );

    let (_other_dir, other) = files();
    let foreign = TlsFiles {
        certificate: good.certificate,
        key: other.key,
        clients: ClientCertificates::Off,
        revoked: None,
    };
    assert!(message(&foreign).contains("make sure that the key is this certificate's"));
}
