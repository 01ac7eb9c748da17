//! Filling a server.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result};

/// How many items: of a server with room for 2 MB, several times as many as fit.
const ITEMS: u64 = 12_000;
/// How large, in bytes: what is as large as a lock's record competes with it for room.
const SIZES: std::ops::Range<u64> = 60..320;
/// For a server that does not evict, how long they are kept, in seconds: then it has room again.
const KEPT: u64 = 2;

/// Stores so much that a small server has to evict or to refuse.
pub(crate) fn fill(address: &str, seed: u64, evicts: bool) -> Result<()> {
    // What has an end may be protected from eviction as the locks are.
    let ttl = if evicts { 0 } else { KEPT };
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut request = Vec::new();
    for number in 0..ITEMS {
        let size = dice.u64(SIZES);
        write!(request, "set filler:{seed}:{number} 0 {ttl} {size} noreply\r\n")?;
        request.resize(request.len() + usize::try_from(size)?, b'v');
        request.extend(b"\r\n");
        if request.len() > 1 << 16 || number + 1 == ITEMS {
            stream.write_all(&request)?;
            request.clear();
        }
    }
    stream.write_all(b"quit\r\n")?;
    // The end of the connection is the end of the work. Refusals are told all the same.
    let mut told = Vec::new();
    stream.read_to_end(&mut told).context("the server took it all")?;
    Ok(())
}
