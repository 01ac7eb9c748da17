//! The peers' servers, each on a free port of the loopback interface.

use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kvlock_testkit::MemcachedServer;
use tempfile::TempDir;

const START_TIMEOUT: Duration = Duration::from_secs(20);

/// A server of somebody else's that ends with this value.
pub(crate) struct Peer {
    child: Child,
    pub(crate) port: u16,
    /// Where it keeps its data.
    _folder: TempDir,
}

/// A memcached as docs/operating-memcached.md recommends it.
pub(crate) fn memcached() -> MemcachedServer {
    MemcachedServer::start_with(&["-o", "temporary_ttl=61"])
}

/// etcd, one member.
pub(crate) fn etcd() -> Result<Peer> {
    Peer::start("etcd", |port, folder| {
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", free_port()?));
        let mut command = Command::new("etcd");
        command.args(["--data-dir", &folder.path().to_string_lossy()]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
        command.args(["--initial-cluster", &format!("default={peer}")]);
        Ok(command)
    })
}

impl Peer {
    fn start(name: &str, command: impl Fn(u16, &TempDir) -> Result<Command>) -> Result<Peer> {
        let (port, folder) = (free_port()?, TempDir::new()?);
        let mut command = command(port, &folder)?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().with_context(|| format!("{name} is missing: cargo xtask bench installs it"))?;
        let mut peer = Peer { child, port, _folder: folder };
        let deadline = Instant::now() + START_TIMEOUT;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            if Instant::now() > deadline || peer.child.try_wait()?.is_some() {
                bail!("{name} does not start");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
