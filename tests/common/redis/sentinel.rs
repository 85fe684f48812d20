//! A master, its replica and Sentinels that watch them.

use super::{Builder, Redis};
use crate::common::{SOON, poll_until, wait_until};

/// The name under which the Sentinels know the master.
pub const SERVICE: &str = "featbit";

/// A master, a replica and Sentinels. Dropped, all are killed.
#[derive(Debug)]
pub struct Watched {
    servers: Vec<Redis>,
    sentinels: Vec<Redis>,
}

/// How they are started.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The master and its replica.
    pub data: Builder,
    /// The password of the data servers.
    pub data_password: Option<String>,
    /// The Sentinels, such as with a password or TLS.
    pub sentinel: Builder,
    /// How many Sentinels.
    pub sentinels: usize,
}

impl Default for Setup {
    fn default() -> Self {
        Self { data: Builder::new(), data_password: None, sentinel: Builder::default(), sentinels: 3 }
    }
}

impl Setup {
    /// A password of the data servers.
    pub fn data_password(mut self, password: &str) -> Self {
        self.data = self.data.password(password);
        self.data_password = Some(password.into());
        self
    }

    /// Starts all of them, and waits until the Sentinels know the replica and each other.
    pub fn start(self) -> Watched {
        let master = self.data.clone().start();
        let replica = self.data.clone().replica_of(&master).start();
        replica.wait_info("replication", "master_link_status", "up");
        let mut sentinel = self
            .sentinel
            .sentinel()
            .line(&format!(
                "sentinel monitor {SERVICE} 127.0.0.1 {} {}",
                master.port(),
                self.sentinels / 2 + 1
            ))
            .line(&format!("sentinel down-after-milliseconds {SERVICE} 1000"))
            .line(&format!("sentinel failover-timeout {SERVICE} 5000"));
        if let Some(password) = &self.data_password {
            sentinel = sentinel.line(&format!("sentinel auth-pass {SERVICE} {password}"));
        }
        let sentinels: Vec<_> = (0..self.sentinels).map(|_| sentinel.clone().start()).collect();
        let watched = Watched { servers: vec![master, replica], sentinels };
        watched.wait_for_agreement();
        watched
    }
}

impl Watched {
    /// Of the Sentinels, `host:port` with commas between them.
    pub fn addresses(&self) -> String {
        self.sentinels.iter().map(Redis::address).collect::<Vec<_>>().join(",")
    }

    /// The Sentinels.
    pub fn sentinels(&self) -> &[Redis] {
        &self.sentinels
    }

    /// The Sentinels, to kill one.
    pub fn sentinels_mut(&mut self) -> &mut [Redis] {
        &mut self.sentinels
    }

    /// The data servers: first the master that was started as such.
    pub fn servers(&self) -> &[Redis] {
        &self.servers
    }

    /// The data servers, to kill one.
    pub fn servers_mut(&mut self) -> &mut [Redis] {
        &mut self.servers
    }

    /// The port of the present master, as the Sentinels say.
    pub fn master_port(&self) -> u16 {
        let ask = |sentinel: &Redis| {
            let answer = sentinel.try_cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]).ok()?;
            answer.lines().nth(1)?.parse().ok()
        };
        self.sentinels.iter().find_map(ask).expect("a Sentinel answers")
    }

    /// The present master, as the Sentinels say.
    pub fn master(&self) -> &Redis {
        let port = self.master_port();
        self.servers.iter().find(|server| server.port() == port).expect("one of the servers")
    }

    /// Makes the replica the master, and waits until all Sentinels say so and the old master follows.
    pub fn fail_over(&self) {
        let before = self.master_port();
        // Refused while they know of no good replica, or while one is under way.
        wait_until("the Sentinels begin a fail-over", SOON, || {
            (self.sentinels[0].cli(&["SENTINEL", "FAILOVER", SERVICE]) == "OK").then_some(())
        });
        self.wait_for_master_after(before);
        let old = self.servers.iter().find(|server| server.port() == before).expect("one of the servers");
        old.wait_info("replication", "role", "slave");
    }

    /// Waits until all Sentinels name another master than the one on port `before`, and that is one.
    pub fn wait_for_master_after(&self, before: u16) {
        wait_until("another master", SOON * 3, || {
            let all = self.sentinels.iter().all(|sentinel| {
                let answer = sentinel.try_cli(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE]);
                answer.is_ok_and(|answer| !answer.lines().any(|line| line == before.to_string()))
            });
            (all && self.master().info("replication", "role") == "master").then_some(())
        });
    }

    fn wait_for_agreement(&self) {
        let knows = |sentinel: &Redis| {
            let answer = sentinel.cli(&["SENTINEL", "MASTER", SERVICE]);
            let lines: Vec<_> = answer.lines().collect();
            let field = |name: &str| {
                let pair = lines.chunks(2).find(|pair| pair[0] == name)?;
                pair.get(1)?.parse::<usize>().ok()
            };
            field("num-slaves") == Some(1) && field("num-other-sentinels") == Some(self.sentinels.len() - 1)
        };
        let known = poll_until(SOON, || self.sentinels.iter().all(knows).then_some(()));
        assert!(known.is_some(), "the Sentinels do not find each other:\n{}", self.sentinels[0].log());
    }
}
