//! A lock that is renewed in the background for as long as the work takes, and tells if it was lost.
//!
//! `cargo run --example guard`

use std::error::Error;
use std::thread::sleep;
use std::time::Duration;

use kvlock::Client;
use kvlock::renewal::{AutoRenew, LostReason};

fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect("memory:")?;
    let lease = Duration::from_millis(300);

    // Scoped: the lock is released when the function returns, or panics.
    let sum = client.lock("report").lease(lease).with_lock(|guard| {
        sleep(2 * lease);
        assert!(guard.lost().is_none(), "it was renewed meanwhile");
        1 + 1
    })?;
    assert_eq!(sum, 2);

    // By hand: the guard releases the lock when it is dropped.
    let guard = client.lock("report").lease(lease).acquire()?.auto_renew(AutoRenew::default());
    // Somebody breaks the lock by force. The next renewal finds that out.
    client.session().open()?.break_lock("report")?;
    while guard.lost().is_none() {
        sleep(lease / 10);
    }
    assert_eq!(guard.lost(), Some(LostReason::Gone(None)));
    // To release it is an error, which says that others may have worked meanwhile.
    println!("{}", guard.release().unwrap_err());
    Ok(())
}
