//! The lamps of `examples/`, each as its reader would run it, with the other end on another node.

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use ringfort_cluster_tests::{
    artifacts_dir,
    cluster::{Cluster, REALM, Setup},
    process::{Process, Signal},
    record_result,
    scripts::{clients_dir, node_command, node_packages, python, run},
    wamp::Client,
    workspace_root,
};
use serde_json::json;
use tempfile::TempDir;

/// Waits until a device answers; then the lamp is off.
async fn device_is_there(client: &Client, device: &mut Process) -> Result<()> {
    let begun = Instant::now();
    loop {
        match client.call("lamp.get", &[]).await? {
            Ok(state) => {
                ensure!(state == [json!(false)], "a lamp that was just started is on: {state:?}");
                return Ok(());
            }
            Err(error) => ensure!(error.uri == "wamp.error.no_such_procedure", "{error}"),
        }
        ensure!(
            device.exited().is_none() && begun.elapsed() < Duration::from_secs(20),
            "no device: {}",
            device.log_tail()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Switches a lamp from another node and hears it say so.
async fn works_as_a_lamp(name: &str, cluster: &Cluster, mut device: Process) -> Result<()> {
    let client = cluster.nodes[2].join().await?;
    device_is_there(&client, &mut device).await.context(name.to_owned())?;
    let mut changes = client.subscribe("lamp.changed").await??;
    for on in [true, false, true] {
        ensure!(
            client
                .call("lamp.set", &[json!(on)])
                .await?
                .with_context(|| format!("{name}: lamp.set"))?
                == [json!(on)],
            "{name}"
        );
        let change = tokio::time::timeout(Duration::from_secs(5), changes.events.recv())
            .await
            .context("no lamp.changed")?;
        ensure!(
            change.is_some_and(|change| change.args == [json!(on)]),
            "{name}: lamp.changed"
        );
        ensure!(client.call("lamp.get", &[]).await?? == [json!(on)], "{name}: lamp.get");
    }
    // A wrong argument is refused and does not end the device.
    let refused = client.call("lamp.set", &[json!("bright")]).await?;
    ensure!(refused.is_err(), "{name}: took a word for a state: {refused:?}");
    ensure!(
        client.call("lamp.get", &[]).await?? == [json!(true)],
        "{name}: lamp.get after a wrong call"
    );
    // It goes as Ctrl-C would make it go, and its name is free.
    device.signal(Signal::Terminate)?;
    device.wait(Duration::from_secs(5))?;
    let begun = Instant::now();
    while client.call("lamp.get", &[]).await?.is_ok() {
        ensure!(begun.elapsed() < Duration::from_secs(5), "{name}: still registered");
    }
    record_result(&format!("example-{name}"), "switched and followed from another node");
    Ok(())
}

fn host_and_port(cluster: &Cluster, node: usize) -> (String, String) {
    let address = cluster.nodes[node].rawsocket.trim_start_matches("tcp://");
    let (host, port) = address.split_once(':').unwrap_or((address, ""));
    (host.to_owned(), port.to_owned())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_lamp_works() {
    let cluster = Cluster::start(Setup::Disks).await.expect("cluster");
    let mut command = Command::new(python());
    command
        .arg(workspace_root().join("examples/lamp-python/lamp.py"))
        .args([&cluster.nodes[0].websocket, REALM]);
    let device = Process::start("lamp-python", command, cluster.dir()).expect("lamp.py");
    works_as_a_lamp("lamp-python", &cluster, device)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rawsocket_lamp_for_small_boards_builds_without_warnings_and_works() {
    let cluster = Cluster::start(Setup::Disks).await.expect("cluster");
    let dir = TempDir::new().expect("dir");
    copy_folder(&workspace_root().join("examples/lamp-rawsocket"), dir.path()).expect("copy");
    let built = Command::new("make").arg("-C").arg(dir.path()).output().expect("make");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let (host, port) = host_and_port(&cluster, 0);
    let mut command = Command::new(dir.path().join("lamp"));
    command.args([host.as_str(), port.as_str(), REALM]);
    let device = Process::start("lamp-rawsocket", command, cluster.dir()).expect("lamp");
    works_as_a_lamp("lamp-rawsocket", &cluster, device)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_autobahn_js_page_switches_and_follows_the_python_lamp() {
    let dir = TempDir::new().expect("dir");
    copy_folder(&workspace_root().join("examples/lamp-browser"), dir.path()).expect("copy");
    let library = node_packages().join("node_modules/autobahn-browser/autobahn.min.js");
    std::fs::copy(&library, dir.path().join("autobahn.min.js")).unwrap_or_else(|error| panic!("{}: {error}", library.display()));
    let cluster = Cluster::start_with_pages(Setup::Disks, dir.path()).await.expect("cluster");
    let mut command = Command::new(python());
    command
        .arg(workspace_root().join("examples/lamp-python/lamp.py"))
        .args([&cluster.nodes[0].websocket, REALM]);
    let mut device = Process::start("lamp-python", command, cluster.dir()).expect("lamp.py");
    let client = cluster.nodes[2].join().await.expect("join");
    device_is_there(&client, &mut device)
        .await
        .unwrap_or_else(|error| panic!("{error:#}"));

    let mut browser = node_command(&clients_dir().join("lamp_browser.js")).expect("packages");
    browser
        .arg(artifacts_dir().join("lamp-autobahn.png"))
        .args([&cluster.nodes[1].page, &cluster.nodes[2].page]);
    let done = run(browser, Duration::from_secs(90))
        .await
        .expect("run")
        .checked()
        .expect("autobahn-js page");
    record_result("example-lamp-browser", done.last_line());
}
