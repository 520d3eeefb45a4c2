use std::fs;

use super::*;

fn files() -> (tempfile::TempDir, TlsFiles) {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: dir.path().join("x.pem"),
        key: dir.path().join("x.key"),
        ..TlsFiles::default()
    };
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    (dir, files)
}

fn message(files: &TlsFiles) -> String {
    material(files).err().expect("an error").to_string()
}

#[test]
fn a_certificate_and_its_key_are_accepted() {
    let (_dir, files) = files();
    assert!(material(&files).is_ok());
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
        ..TlsFiles::default()
    };
    assert!(message(&swapped).contains("x.key holds no certificate in PEM form"));
    let swapped = TlsFiles {
        certificate: good.certificate.clone(),
        key: good.certificate.clone(),
        ..TlsFiles::default()
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
        ..TlsFiles::default()
    };
    assert!(message(&foreign).contains("make sure that the key is this certificate's"));
}

#[test]
fn certificates_are_found_by_their_names_the_first_one_first() {
    let dir = tempfile::tempdir().unwrap();
    let pair = |file: &str, names: &[&str]| {
        let made = rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
        let pair = Pair {
            certificate: dir.path().join(format!("{file}.pem")),
            key: dir.path().join(format!("{file}.key")),
        };
        fs::write(&pair.certificate, made.cert.pem()).unwrap();
        fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
        (pair, made.cert.der().to_vec())
    };
    let (first, one) = pair("one", &["one.example"]);
    let (second, two) = pair("two", &["Two.Example", "*.lamps.example", "one.example"]);
    let mut files = TlsFiles {
        certificate: first.certificate,
        key: first.key,
        others: vec![second],
        ..TlsFiles::default()
    };
    let provider = rustls::crypto::ring::default_provider();
    let names = ByName::read(&files, &provider).unwrap();
    let found = |name: &str| names.find(name).map(|key| key.cert[0].to_vec());
    assert_eq!(found("one.example"), Some(one), "of two for one name the first");
    for name in ["two.example", "TWO.example.", "a.lamps.example"] {
        assert_eq!(found(name), Some(two.clone()), "{name}");
    }
    for name in ["lamps.example", "a.b.lamps.example", "three.example", ""] {
        assert_eq!(found(name), None, "{name}");
    }
    assert!(names.default.is_some());
    files.unknown_name = UnknownName::Refuse;
    assert!(ByName::read(&files, &provider).unwrap().default.is_none());
}
