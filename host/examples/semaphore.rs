//! A semaphore: at most so many at once, across processes and machines.
//!
//! `cargo run --example semaphore`

use std::error::Error;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use kvlock::Client;

const PERMITS: u32 = 3;

fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect("memory:")?;
    client.semaphore("downloads").make(PERMITS).run()?;

    let (running, most) = (AtomicU32::new(0), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                // A permit is held like a lock: by a grant that is released when it is dropped.
                let permit = client.semaphore("downloads").permit().acquire().expect("the store answers");
                most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(20));
                running.fetch_sub(1, Ordering::SeqCst);
                drop(permit);
            });
        }
    });
    println!("at most {most:?} of 8 ran at once");
    assert!(most.into_inner() <= PERMITS);

    let status = client.semaphore("downloads").status()?.ok_or("it was made above")?;
    assert_eq!((status.size, status.holders.len()), (PERMITS, 0));
    Ok(())
}
