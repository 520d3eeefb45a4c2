use std::fs;

use super::*;

fn write(dir: &std::path::Path, name: &str) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: dir.join("x.pem"),
        key: dir.join("x.key"),
        ..TlsFiles::default()
    };
    fs::write(&files.certificate, made.cert.pem()).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

#[tokio::test]
async fn changed_files_are_read_again_and_broken_ones_leave_the_former() {
    let dir = tempfile::tempdir().unwrap();
    let files = write(dir.path(), "one.example");
    let reloading = Arc::new(Reloading::new(&files).unwrap());
    let config = || reloading.current().0.acceptor.config().clone();
    let first = config();
    tokio::spawn(reloading.clone().watch(Duration::from_millis(5), || std::future::ready(())));
    let settle = || tokio::time::sleep(Duration::from_millis(100));
    settle().await;
    assert!(Arc::ptr_eq(&first, &config()), "nothing has changed");
    fs::write(&files.key, "broken").unwrap();
    settle().await;
    assert!(Arc::ptr_eq(&first, &config()), "what cannot be used");
    write(dir.path(), "another.example");
    crate::session::testing::eventually("the new material", || !Arc::ptr_eq(&first, &config())).await;
}
