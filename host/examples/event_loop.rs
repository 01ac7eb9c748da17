//! Many waits on one thread: each is polled when its pause is over.
//!
//! A poll may block for as long as the store takes to answer, up to its timeouts. In async code call kvlock in a
//! blocking task.
//!
//! `cargo run --example event_loop`

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::error::Error;
use std::thread::sleep;
use std::time::{Duration, Instant};

use kvlock::{AcquirePoll, Client};

fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect("memory:")?;

    // Each wait needs an owner of its own, or the second would find that its owner holds the lock already.
    let mut waits = Vec::new();
    for _ in 0..5 {
        waits.push(client.session().open()?.lock("turn").wait(Duration::from_secs(10)).begin()?);
    }
    let mut due: BinaryHeap<_> = (0..waits.len()).map(|index| Reverse((Instant::now(), index))).collect();

    let mut order = Vec::new();
    while let Some(Reverse((when, index))) = due.pop() {
        sleep(when.saturating_duration_since(Instant::now()));
        match waits[index].poll()? {
            AcquirePoll::Ready(grant) => {
                order.push(index);
                grant.release()?;
            }
            AcquirePoll::Pending { pause, .. } => due.push(Reverse((Instant::now() + pause, index))),
        }
    }
    println!("granted in the order {order:?}");
    order.sort_unstable();
    assert_eq!(order, [0, 1, 2, 3, 4]);
    Ok(())
}
