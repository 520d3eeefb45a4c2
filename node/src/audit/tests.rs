use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Audit, Event, Refusal, Settings, verify::verify};

fn settings(directory: &Path) -> Settings {
    Settings {
        path: directory.join("audit.jsonl"),
        rotate_bytes: 1 << 20,
        keep: 3,
        refusals_max: 8,
        node: "n1".to_owned(),
    }
}

fn change(what: &str) -> Event {
    Event {
        what: Some(what.to_owned()),
        ..Event::of("change")
    }
}

fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn kinds(path: &Path) -> Vec<String> {
    let kind = |record: &Value| record["kind"].as_str().unwrap().to_owned();
    records(path).iter().map(kind).collect()
}

/// A log with that many changes, closed.
async fn written(settings: &Settings, changes: usize) -> PathBuf {
    let audit = Audit::open(settings.clone()).unwrap();
    for n in 0..changes {
        audit.commit(change(&format!("change {n}"))).await.unwrap();
    }
    audit.finish();
    settings.path.clone()
}

#[tokio::test]
async fn a_record_is_on_the_disk_once_it_was_committed_and_the_chain_goes_on_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path());
    let audit = Audit::open(settings.clone()).unwrap();
    audit.commit(change("first")).await.unwrap();
    let seen = records(&settings.path);
    assert_eq!(seen.last().unwrap()["what"], "first");
    assert_eq!(audit.head().unwrap().seq, seen.len() as u64);
    audit.finish();
    assert!(audit.commit(change("too late")).await.is_err());
    written(&settings, 1).await;
    assert_eq!(kinds(&settings.path), ["start", "change", "stop", "start", "change", "stop"]);
    let whole = verify(&[settings.path]).unwrap().unwrap();
    assert_eq!((whole.first, whole.last.seq, whole.torn), (1, 6, 0));
}

#[tokio::test]
async fn verify_names_the_first_record_that_was_changed_taken_out_or_put_elsewhere() {
    let directory = tempfile::tempdir().unwrap();
    let path = written(&settings(directory.path()), 6).await;
    let text = std::fs::read_to_string(&path).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let broken = |lines: &[&str]| {
        std::fs::write(&path, lines.iter().map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        verify(std::slice::from_ref(&path)).unwrap().unwrap_err()
    };
    let mended = lines[3].replace("change 2", "nothing!");
    let mut changed = lines.clone();
    changed[3] = &mended;
    let found = broken(&changed);
    assert_eq!((found.seq, found.line), (Some(4), 4), "{found}");
    assert!(found.to_string().contains("record 4 is not what record 5 says"), "{found}");
    let mut without = lines.clone();
    without.remove(2);
    assert_eq!(broken(&without).seq, Some(4));
    let mut swapped = lines.clone();
    swapped.swap(4, 5);
    assert_eq!(broken(&swapped).seq, Some(6));
    let mut garbage = lines.clone();
    garbage[1] = "{}";
    assert_eq!(broken(&garbage).line, 2);
    std::fs::write(&path, &text).unwrap();
    assert!(verify(&[path]).unwrap().is_ok());
}

#[tokio::test]
async fn a_torn_end_is_cut_off_and_a_record_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path());
    let path = written(&settings, 2).await;
    let whole = std::fs::read(&path).unwrap();
    for torn in [&b"{\"seq\":5,\"at\":\"20"[..], &[0; 300], b"{\"seq\":5,\"prev\":\"\"}"] {
        let mut bytes = whole.clone();
        bytes.extend_from_slice(torn);
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(verify(std::slice::from_ref(&path)).unwrap().unwrap().torn, torn.len() as u64);
        written(&settings, 0).await;
        assert_eq!(kinds(&path)[4..], ["mended", "start", "stop"]);
        assert_eq!(records(&path)[4]["count"], torn.len());
        assert_eq!(verify(std::slice::from_ref(&path)).unwrap().unwrap().last.seq, 7);
    }
    // The first record of all.
    std::fs::write(&path, b"{\"seq\":1,\"a").unwrap();
    written(&settings, 0).await;
    assert_eq!(kinds(&path), ["mended", "start", "stop"]);
}

#[test]
fn a_file_that_is_no_audit_log_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path());
    for text in ["something of value", "of value\n", "{\"seq\":1,\"prev\":\"\"}\nof value\n"] {
        std::fs::write(&settings.path, text).unwrap();
        assert!(Audit::open(settings.clone()).is_err(), "{text}");
        assert_eq!(std::fs::read_to_string(&settings.path).unwrap(), text);
    }
}

#[test]
fn two_nodes_do_not_write_to_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let first = Audit::open(settings(directory.path())).unwrap();
    assert!(Audit::open(settings(directory.path())).is_err());
    first.finish();
}

#[tokio::test]
async fn the_chain_goes_over_rotated_files_and_only_so_many_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        rotate_bytes: 4_096,
        ..settings(directory.path())
    };
    let path = written(&settings, 30).await;
    let whole = verify(std::slice::from_ref(&path)).unwrap().unwrap();
    assert_eq!((whole.first, whole.last.seq), (1, 32));
    assert!((2..=4).contains(&whole.files), "{} files", whole.files);
    // Put aside, and then the node was killed before the next file was begun.
    std::fs::rename(
        &path,
        directory
            .path()
            .join(format!("audit.jsonl.{:020}", records(&path)[0]["seq"].as_u64().unwrap())),
    )
    .unwrap();
    written(&settings, 60).await;
    let whole = verify(std::slice::from_ref(&path)).unwrap().unwrap();
    assert_eq!((whole.last.seq, whole.files), (94, 4));
    assert!(whole.first > 1, "the oldest were not kept");
    let middle = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let middle = middle.max().unwrap();
    std::fs::remove_file(middle).unwrap();
    assert!(verify(&[path]).unwrap().unwrap_err().what.contains("missing"));
}

#[test]
fn refusals_alike_are_one_record_and_what_finds_no_room_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path());
    let audit = Audit::open(settings.clone()).unwrap();
    let source = |n: u8| Some(std::net::IpAddr::from([10, 0, 0, n]));
    let long = "é".repeat(1_000);
    for n in 0..20 {
        for _ in 0..50 {
            audit.refused(&Refusal {
                source: source(n),
                realm: "realm1",
                authid: &long,
                ..Refusal::of("authentication", "credential not accepted")
            });
        }
    }
    audit.note(change("a change"));
    audit.finish();
    let all = records(&settings.path);
    let refused: Vec<&Value> = all.iter().filter(|one| one["kind"] == "refused").collect();
    let counted: u64 = refused.iter().map(|one| one["count"].as_u64().unwrap()).sum();
    let dropped: u64 = all
        .iter()
        .filter(|one| one["kind"] == "dropped")
        .map(|one| one["count"].as_u64().unwrap())
        .sum();
    assert_eq!(counted + dropped, 1_000);
    assert!(
        refused.len() >= 8 && dropped > 0,
        "{} records, {dropped} dropped",
        refused.len()
    );
    assert_eq!(refused[0]["source"], "10.0.0.0");
    assert!(refused[0]["authid"].as_str().unwrap().len() < 300);
    assert!(all.iter().any(|one| one["what"] == "a change"));
}

#[test]
fn addresses_of_one_network_are_one_source() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(directory.path());
    let audit = Audit::open(settings.clone()).unwrap();
    for n in 0..5_u16 {
        audit.refused(&Refusal {
            source: Some(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 1, n, 2, 3, 4).into()),
            ..Refusal::of("limit", "connections")
        });
    }
    audit.finish();
    let all = records(&settings.path);
    let refused = all.iter().filter(|one| one["kind"] == "refused");
    assert!(refused.map(|one| one["count"].as_u64().unwrap()).sum::<u64>() == 5 && all.len() <= 4);
}
