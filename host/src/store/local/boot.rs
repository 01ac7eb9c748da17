//! The running system: its clocks, and which boot it is.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::clock::{BootClock, Clock};
use crate::debug::debug_fields;

/// What a local store knows of the running system. Tests make their own.
#[derive(Clone)]
#[non_exhaustive]
pub struct Boot {
    /// Measures the ttls; starts again when the machine does.
    pub clock: Arc<dyn Clock>,
    /// Another one after each boot.
    pub boot_id: String,
    /// The time since 1970, by which ttls are carried over a reboot.
    pub wall: fn() -> Duration,
}

debug_fields!(Boot, |it| boot_id = it.boot_id);

impl Boot {
    /// Returns a boot of a machine that is made up.
    pub fn new(clock: Arc<dyn Clock>, boot_id: impl Into<String>, wall: fn() -> Duration) -> Self {
        Boot { clock, boot_id: boot_id.into(), wall }
    }

    /// Returns the boot of the machine that runs this process.
    pub fn here() -> Self {
        // Where /proc is missing there is one boot as far as we know: expiries are then never counted anew.
        let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Boot { clock: Arc::new(BootClock), boot_id: boot_id.trim().into(), wall }
    }

    /// Returns the boot clock in the nanoseconds that the file has: enough for 292 years.
    pub(super) fn boot_nanos(&self) -> i64 {
        nanos(self.clock.now())
    }

    pub(super) fn wall_nanos(&self) -> i64 {
        nanos((self.wall)())
    }
}

fn wall() -> Duration {
    // A clock before 1970 is as good as none.
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

pub(super) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
