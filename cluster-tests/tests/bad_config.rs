//! What an operator reads when a configuration is wrong: the key or the file, what is wrong with it, and what to do.

use std::{
    net::TcpListener,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use ringfort_cluster_tests::{
    cluster::OPEN,
    ports::free_port,
    process::{Process, binary},
    secrets,
};

/// A configuration that works, into which the faults are planted.
fn good(port: u16) -> String {
    format!(
        "[node]\nname = \"n1\"\n[[listener]]\naddress = \"127.0.0.1:{port}\"\n[[realm]]\nname = \"realm1\"\nanonymous = \"loopback\"\n{OPEN}\
         [admin]\naddress = \"127.0.0.1:{}\"\n[observability]\naddress = \"off\"\n",
        free_port()
    )
}

/// Runs `ringfort serve` on a configuration that must be refused; returns the exit code and what it said.
fn refused(dir: &Path, text: &str) -> (i32, String) {
    let file = dir.join("node.toml");
    std::fs::write(&file, text).expect("write");
    // The log goes on over lives of one name; here each life stands for itself.
    let _ = std::fs::remove_file(dir.join("refused.err"));
    let mut command = Command::new(binary());
    command.args(["serve", "--config"]).arg(&file);
    let mut process = Process::start("refused", command, dir).expect("start");
    let begun = Instant::now();
    let status = process
        .wait(Duration::from_secs(10))
        .expect("a node with a bad configuration must not go on");
    assert!(
        begun.elapsed() < Duration::from_secs(5),
        "took {:?} to refuse",
        begun.elapsed()
    );
    let said = process.stderr();
    let code = status.code().unwrap_or_else(|| panic!("ended by a signal: {status}\n{said}"));
    assert!(!said.contains("panicked"), "{said}");
    (code, said)
}

/// A fault, and the words that the text about it must hold.
struct Case {
    what: &'static str,
    config: String,
    names: Vec<String>,
}

#[test]
fn a_bad_configuration_names_the_key_what_is_wrong_and_the_remedy() {
    let dir = secrets::folder("ringfort-test-").expect("dir");
    let port = free_port();
    let with = |extra: &str| format!("{}{extra}", good(port));
    let missing = dir.path().join("missing.pem").display().to_string();
    let garbage = dir.path().join("garbage.pem").display().to_string();
    std::fs::write(&garbage, "no certificate\n").expect("write");
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let config_faults = vec![
        Case {
            what: "unknown section",
            config: with("[lissener]\nx = 1\n"),
            names: words(&["lissener", "node.toml"]),
        },
        Case {
            what: "unknown key",
            config: with("[log]\nlevle = \"info\"\n"),
            names: words(&["log", "levle", "level"]),
        },
        Case {
            what: "unknown key in a list",
            config: with("[[listener]]\naddres = \"127.0.0.1:1\"\n"),
            names: words(&["listener", "addres", "address"]),
        },
        Case {
            what: "wrong type",
            config: with("[cluster]\nid = 7\n"),
            names: words(&["cluster.id", "string"]),
        },
        Case {
            what: "wrong type in a list",
            config: with("[[listener]]\nrawsocket = \"yes\"\n"),
            names: words(&["rawsocket", "true"]),
        },
        Case {
            what: "not an address",
            config: good(port).replace("\"off\"", "\"here\""),
            names: words(&["observability.address", "here"]),
        },
        Case {
            what: "unknown word",
            config: with("[[realm]]\nname = \"r2\"\nanonymous = \"maybe\"\n"),
            names: words(&["anonymous", "maybe", "loopback"]),
        },
        Case {
            what: "not TOML",
            config: with("[node\n"),
            names: words(&["node.toml", "line"]),
        },
        Case {
            what: "clock relations",
            config: with("[cluster.timing]\nlease_ttl_ms = 500\n"),
            names: words(&["lease_ttl"]),
        },
    ];
    let certificate_faults = vec![
        Case {
            what: "missing certificate",
            config: good(port).replace(
                "[[realm]]",
                &format!("[listener.tls]\ncertificate = {missing:?}\nkey = {missing:?}\n[[realm]]"),
            ),
            names: vec![missing.clone(), "certificate".to_owned()],
        },
        Case {
            what: "a file that is no certificate",
            config: good(port).replace(
                "[[realm]]",
                &format!("[listener.tls]\ncertificate = {garbage:?}\nkey = {garbage:?}\n[[realm]]"),
            ),
            names: vec![garbage.clone(), "PEM".to_owned()],
        },
    ];
    let taken = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = taken.local_addr().expect("address").to_string();
    let port_faults = vec![Case {
        what: "port in use",
        config: good(port).replace(&format!("127.0.0.1:{port}"), &address),
        names: vec![address.clone(), "in use".to_owned(), "configure another port".to_owned()],
    }];

    let mut codes = Vec::new();
    for faults in [config_faults, certificate_faults, port_faults] {
        let mut class = None;
        for case in faults {
            let (code, said) = refused(dir.path(), &case.config);
            println!("--- {} (exit code {code})\n{said}", case.what);
            for name in &case.names {
                assert!(said.contains(name.as_str()), "{}: does not name {name:?}:\n{said}", case.what);
            }
            assert!(
                said.lines().filter(|line| !line.trim().is_empty()).count() >= 2,
                "{}: says no remedy:\n{said}",
                case.what
            );
            // 0 is success, 1 any failure, 2 wrong arguments, 101 a panic.
            assert!(![0, 1, 2, 101].contains(&code), "{}: exit code {code}", case.what);
            assert_eq!(
                *class.get_or_insert(code),
                code,
                "{}: not the exit code of its class",
                case.what
            );
        }
        codes.extend(class);
    }
    codes.sort_unstable();
    codes.dedup();
    assert!(codes.len() >= 2, "a taken port and a bad file must be told apart: {codes:?}");
}

#[test]
fn check_says_the_same_without_starting_anything() {
    let dir = secrets::folder("ringfort-test-").expect("dir");
    let run = |text: &str| {
        let file = dir.path().join("node.toml");
        std::fs::write(&file, text).expect("write");
        let output = Command::new(binary()).arg("check").arg(&file).output().expect("run");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let port = free_port();
    let (code, said) = run(&good(port));
    assert_eq!(code, Some(0), "{said}");
    let bad = format!("{}[log]\nlevle = \"info\"\n", good(port));
    let (code, said) = run(&bad);
    assert!(said.contains("levle"), "{said}");
    assert_eq!(
        code,
        Some(refused(dir.path(), &bad).0),
        "check and serve agree on the exit code"
    );
}

#[test]
fn an_override_from_the_environment_is_checked_like_the_file() {
    let dir = secrets::folder("ringfort-test-").expect("dir");
    let file = dir.path().join("node.toml");
    std::fs::write(&file, good(free_port())).expect("write");
    let output = Command::new(binary())
        .arg("check")
        .arg(&file)
        .env("RINGFORT__LOG__LEVLE", "info")
        .output()
        .expect("run");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "an unknown variable was taken");
    assert!(said.contains("RINGFORT__LOG__LEVLE") || said.contains("log.levle"), "{said}");
}
