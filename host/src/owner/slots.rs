//! Slots: how many owners may get an instance, and be in their first call, at a time.
//!
//! What a crowd of short locks goes through stays in the caches of a processor if few are in it. With a thousand instances
//! in rotation, each call waits for memory, and takes twice as long. A store that is far away, or does not answer, must not
//! make a queue: who is inside for long does not count any more, and lets more in than itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_io::Timer;
use async_lock::Semaphore;

use crate::runner::Runner;

/// How many may be inside if calls are short.
const FEWEST: usize = 32;

/// How many may be inside at most, but for those who are there for long.
const MOST: usize = 1024;

/// How long one counts. A call that waits for nothing but a processor takes less.
const COUNTS_FOR: Duration = Duration::from_millis(10);

/// The slots of a client's tasks.
pub(super) struct Slots {
    /// Its permits are the slots that nobody has taken.
    free: Semaphore,
    inside: Mutex<Inside>,
}

/// Lets its owner be inside. Dropping it lets the next one in.
pub(super) struct Slot {
    slots: Arc<Slots>,
    number: u64,
}

/// Who is inside, and how many may be. It knows no clock and no waiter.
struct Inside {
    /// How many may be inside. So many slots are taken or free.
    room: usize,
    /// Those who count, in the order in which they came.
    taken: Vec<(u64, Instant)>,
    next: u64,
    is_watched: bool,
}

impl Default for Slots {
    fn default() -> Self {
        Slots { free: Semaphore::new(FEWEST), inside: Mutex::new(Inside::new()) }
    }
}

impl Slots {
    /// Waits for a slot.
    pub(super) async fn take(self: &Arc<Self>, runner: &Runner) -> Slot {
        match self.free.try_acquire() {
            Some(free) => free.forget(),
            None => {
                self.watch(runner);
                self.free.acquire().await.forget();
            }
        }
        Slot { slots: self.clone(), number: self.inside().begin(Instant::now()) }
    }

    /// Looks after those who are inside for long, as long as anybody may wait for them.
    fn watch(self: &Arc<Self>, runner: &Runner) {
        if std::mem::replace(&mut self.inside().is_watched, true) {
            return;
        }
        let slots = self.clone();
        runner.spawn(async move {
            loop {
                Timer::after(COUNTS_FOR).await;
                let let_in = {
                    let mut inside = slots.inside();
                    if inside.taken.is_empty() {
                        inside.is_watched = false;
                        return;
                    }
                    inside.look(Instant::now())
                };
                slots.free.add_permits(let_in);
            }
        });
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let let_in = self.slots.inside().end(self.number);
        self.slots.free.add_permits(let_in);
    }
}

impl Inside {
    fn new() -> Self {
        Inside { room: FEWEST, taken: Vec::new(), next: 0, is_watched: false }
    }

    /// Lets one in, and reslots its number.
    fn begin(&mut self, now: Instant) -> u64 {
        self.next += 1;
        self.taken.push((self.next, now));
        self.next
    }

    /// Lets one out. Reslots how many may come in for it.
    fn end(&mut self, number: u64) -> usize {
        let Some(at) = self.taken.iter().position(|(of, _)| *of == number) else { return 0 };
        self.taken.remove(at);
        let is_spare = self.room > FEWEST;
        self.room -= usize::from(is_spare);
        usize::from(!is_spare)
    }

    /// Stops to count those who are inside for long. Reslots how many may come in for them.
    fn look(&mut self, now: Instant) -> usize {
        let before = self.taken.len();
        self.taken.retain(|(_, since)| now.saturating_duration_since(*since) < COUNTS_FOR);
        let for_long = before - self.taken.len();
        let more = for_long.min(MOST - self.room);
        self.room += more;
        for_long + more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets as many in as may come.
    fn fill(inside: &mut Inside, free: usize, now: Instant) -> Vec<u64> {
        (0..free).map(|_| inside.begin(now)).collect()
    }

    #[test]
    fn who_is_inside_for_long_lets_two_in_and_never_more_than_most_are_counted() {
        let (mut inside, mut now) = (Inside::new(), Instant::now());
        let (mut free, mut ever) = (FEWEST, 0);
        for _ in 0..10 {
            ever += free;
            fill(&mut inside, free, now);
            now += COUNTS_FOR;
            free = inside.look(now);
            assert!(free <= MOST && inside.taken.is_empty());
        }
        assert_eq!(free, MOST);
        assert!(ever >= 4 * MOST, "{ever} came in while nobody went out");
    }

    #[test]
    fn short_calls_make_it_as_narrow_again_as_it_was() {
        let (mut inside, now) = (Inside::new(), Instant::now());
        let long = fill(&mut inside, FEWEST, now);
        let mut free = inside.look(now + COUNTS_FOR);
        assert_eq!(free, 2 * FEWEST);
        assert!(long.into_iter().all(|number| inside.end(number) == 0), "they were let out already");
        while inside.room > FEWEST {
            let short = fill(&mut inside, free, now + COUNTS_FOR);
            free = short.into_iter().map(|number| inside.end(number)).sum();
        }
        assert_eq!(free, FEWEST);
    }

    #[test]
    fn who_waits_gets_a_slot_though_nobody_ends_one() {
        let (slots, runner) = (Arc::<Slots>::default(), Runner::default());
        futures_lite::future::block_on(async {
            let mut taken = Vec::new();
            for _ in 0..3 * FEWEST {
                taken.push(slots.take(&runner).await);
            }
        });
    }
}
