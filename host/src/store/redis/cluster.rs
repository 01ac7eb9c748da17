//! A cluster: its nodes say which of them has the slot of a bucket.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kvlock_protocol::{Address, Failure, parse_list};

use super::super::StoreError;
use super::super::place::{MakeTls, Place};
use super::super::socket::wire::Timeouts;
use super::link::{Link, Setup};
use super::reply::{Reply, foreign};

/// How many nodes are remembered.
const MOST_NODES: usize = 64;

/// The nodes of a cluster.
pub(super) struct Nodes {
    /// Those that the URL names, for people.
    named: String,
    /// Those that are asked, the one that answered last first.
    known: Mutex<Vec<Arc<Node>>>,
    /// How to log in to them, to ask.
    setup: Setup,
    /// How they are reached: by TLS, or without.
    tls: MakeTls,
}

struct Node {
    address: Address,
    place: Place,
}

impl Nodes {
    pub(super) fn new(servers: Vec<Address>, setup: Setup, tls: MakeTls) -> Result<Nodes, StoreError> {
        let named: Vec<_> = servers.iter().map(Address::to_string).collect();
        let nodes = Nodes { named: named.join(","), known: Mutex::default(), setup, tls };
        let known = servers.into_iter().map(|address| nodes.node(address)).collect::<Result<_, _>>()?;
        *nodes.known() = known;
        Ok(nodes)
    }

    /// Asks one node after the other which of them is the master of a hash, until one knows.
    pub(super) fn master(&self, hash: &str, timeouts: Timeouts) -> Result<Place, Failure> {
        let known = self.known().clone();
        let (mut failed, mut is_outage) = (Vec::new(), false);
        for node in known {
            match self.ask(&node, hash, timeouts) {
                Ok(masters) => {
                    let place = self.place(&masters.of_hash).map_err(refused)?;
                    self.learn(&node, masters.all);
                    return Ok(place);
                }
                Err(failure) => {
                    is_outage |= !matches!(failure, Failure::Refused(_) | Failure::Foreign(_));
                    failed.push(format!("node {}: {}", node.address, failure.into_text()));
                }
            }
        }
        let why = failed.join("; ");
        Err(if is_outage { Failure::NotSent(why) } else { Failure::Refused(why) })
    }

    fn ask(&self, node: &Node, hash: &str, timeouts: Timeouts) -> Result<Masters, Failure> {
        let peers = node.place.peers(timeouts.connect)?;
        let mut dialing = node.place.dial(&peers, timeouts);
        let Some(wire) = dialing.next() else { return Err(dialing.failure()) };
        let mut link = Link::bare(wire, &self.setup)?;
        let mut told = |words: &[&[u8]]| link.ask(words).map_err(Failure::before_a_write);
        let slot = told(&[b"CLUSTER", b"KEYSLOT", hash.as_bytes()])?;
        let slots = told(&[b"CLUSTER", b"SLOTS"])?;
        Masters::parse(&slot, &slots, &node.address)
    }

    /// Takes note of who answered, and of the nodes that it told of.
    fn learn(&self, answered: &Arc<Node>, masters: Vec<Address>) {
        let mut known = self.known();
        known.retain(|node| node.address != answered.address);
        known.insert(0, answered.clone());
        for address in masters {
            if known.len() < MOST_NODES && known.iter().all(|node| node.address != address) {
                // One that cannot be reached by TLS is of no use.
                known.extend(self.node(address));
            }
        }
    }

    fn node(&self, address: Address) -> Result<Arc<Node>, StoreError> {
        let place = self.place(&address)?;
        Ok(Arc::new(Node { address, place }))
    }

    fn place(&self, address: &Address) -> Result<Place, StoreError> {
        Ok(Place::host(address.clone(), (self.tls)(&address.host)?))
    }

    fn known(&self) -> MutexGuard<'_, Vec<Arc<Node>>> {
        // A panic elsewhere cannot leave the list half changed.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The masters of a cluster.
struct Masters {
    of_hash: Address,
    all: Vec<Address>,
}

impl Masters {
    /// Reads the answer to `CLUSTER SLOTS`: ranges of slots, each with its first, its last, its master and replicas.
    fn parse(slot: &Reply, slots: &Reply, asked: &Address) -> Result<Masters, Failure> {
        let strange = || foreign(format!("{slots:?}").as_bytes());
        let slot = slot.number().ok_or_else(strange)?;
        let (mut of_hash, mut all) = (None, Vec::new());
        for range in slots.items() {
            let [first, last, master, ..] = range.items() else { return Err(strange()) };
            let (Some(first), Some(last)) = (first.number(), last.number()) else { return Err(strange()) };
            let [host, port, ..] = master.items() else { return Err(strange()) };
            // A node that does not know its own address leaves it out, and so does one that is to: it is the one asked.
            let host = host.text().filter(|host| !host.is_empty()).unwrap_or(&asked.host);
            let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
            let port = port.number().ok_or_else(strange)?;
            let address = parse_list(&format!("{host}:{port}"), 0).map_err(|_| strange())?.remove(0);
            if (first..=last).contains(&slot) {
                of_hash = Some(address.clone());
            }
            if !all.contains(&address) {
                all.push(address);
            }
        }
        let unserved = || Failure::NotSent(format!("no node of the cluster serves the slot {slot}"));
        Ok(Masters { of_hash: of_hash.ok_or_else(unserved)?, all })
    }
}

fn refused(error: StoreError) -> Failure {
    Failure::Refused(error.to_string())
}

impl fmt::Display for Nodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: Reply, port: i64) -> Reply {
        let master = Reply::Items(vec![host, Reply::Number(port), Reply::Text(b"id".to_vec())]);
        Reply::Items(vec![Reply::Number(first), Reply::Number(last), master])
    }

    #[test]
    fn the_master_of_a_slot_is_found_and_an_address_left_out_is_that_of_the_node_asked() {
        let asked = Address { host: "seed".into(), port: 7000 };
        let slots = Reply::Items(vec![
            range(0, 99, Reply::Text(b"10.0.0.1".to_vec()), 7001),
            range(100, 199, Reply::Text(Vec::new()), 7002),
            range(200, 299, Reply::Nothing, 7003),
            range(300, 399, Reply::Text(b"::1".to_vec()), 7004),
            range(400, 499, Reply::Text(b"10.0.0.1".to_vec()), 7001),
        ]);
        for (slot, master) in [(99, "10.0.0.1:7001"), (100, "seed:7002"), (299, "seed:7003"), (300, "[::1]:7004")] {
            let masters = Masters::parse(&Reply::Number(slot), &slots, &asked).unwrap();
            assert_eq!((masters.of_hash.to_string().as_str(), masters.all.len()), (master, 4), "{slot}");
        }
        let unserved = Masters::parse(&Reply::Number(16000), &slots, &asked).err().unwrap();
        assert!(matches!(unserved, Failure::NotSent(why) if why.contains("16000")));
    }
}
