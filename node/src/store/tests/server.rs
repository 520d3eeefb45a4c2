//! A real Redis server on a socket of its own, without persistence; it ends with the test.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::store::{Redis, RedisSettings};

pub(super) struct Server {
    process: Child,
    port: u16,
}

impl Server {
    /// Starts `redis-server`, which `cargo xtask setup` installs.
    pub(super) fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut server = Self {
            process: Self::run(port),
            port,
        };
        server.wait();
        server
    }

    fn run(port: u16) -> Child {
        Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed by cargo xtask setup")
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends the server; what it held is lost.
    pub(super) fn stop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    pub(super) fn start_again(&mut self) {
        self.process = Self::run(self.port);
        self.wait();
    }

    pub(super) fn store(&self) -> Redis {
        Redis::new(RedisSettings {
            url: format!("redis://127.0.0.1:{}", self.port),
            prefix: "test".to_owned(),
            timeout: Duration::from_secs(10),
        })
        .unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
