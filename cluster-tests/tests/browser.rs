//! The lamp's page in a real browser, on two nodes at once.

use std::time::Duration;

use ringfort_cluster_tests::{
    artifacts_dir,
    cluster::Demo,
    record_result,
    scripts::{clients_dir, node_command, run},
};

#[tokio::test]
async fn a_click_on_one_nodes_page_is_seen_on_the_others() {
    let demo = Demo::start(120).await.expect("demo");
    let picture = artifacts_dir().join("lamp.png");
    let _ = std::fs::remove_file(&picture);
    let mut command = node_command(&clients_dir().join("lamp_browser.js")).expect("packages");
    command.arg(&picture).args([&demo.node(2).page, &demo.node(3).page]);
    let done = run(command, Duration::from_secs(90))
        .await
        .expect("run")
        .checked()
        .expect("lamp page");
    let size = std::fs::metadata(&picture).expect("screenshot").len();
    assert!(size > 1_000, "{}: {size} bytes", picture.display());
    record_result("browser", &format!("{}; {}", done.last_line(), picture.display()));
}
