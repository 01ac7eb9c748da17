//! What one call of the component may take: memory, time, and calls of the store.
//!
//! The component is ours, but what it does depends on what a store answers, and a store may be anybody's. Beyond a bound
//! it traps: its session is of no more use, and the host goes on. A call of the store takes as long as the store lets
//! it, which bounds that itself ([`KvStore`](crate::store::KvStore)).

use std::time::Duration;

use wasmtime::{Engine, Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline};

use super::imports::{Imports, MAX_CALLS};

/// Most memory that an instance may have: a few hundred bytes for each lock that its session holds, and room for
/// the largest keys.
const MAX_MEMORY_BYTES: usize = 512 << 20;

/// Most grants and waits that a session may have at a time: more than there is memory for. wasmtime's own bound is
/// 100,000. Beyond that the session would be lost with all that it holds.
const MAX_HANDLES: usize = 1 << 28;

/// How often the engine checks if a component computes.
const TICK: Duration = Duration::from_secs(1);

/// How many ticks in a row it may compute without a call of the store: what takes it a second is unheard of.
const MAX_TICKS: u32 = 10;

/// What an instance of ours can reach. Nothing else is linked.
pub(super) struct HostState {
    pub(super) imports: Imports,
    pub(super) bounds: Bounds,
}

/// The bounds of one instance.
pub(super) struct Bounds {
    memory: StoreLimits,
    /// What was left of the calls at the last tick.
    calls_left: Option<u32>,
    /// Ticks since then.
    ticks: u32,
}

impl Bounds {
    pub(super) fn new() -> Self {
        let memory = StoreLimitsBuilder::new().memory_size(MAX_MEMORY_BYTES).build();
        Bounds { memory, calls_left: None, ticks: 0 }
    }
}

/// Puts a new instance's store under its bounds.
pub(super) fn impose(store: &mut Store<HostState>) {
    store.limiter(|host| &mut host.bounds.memory);
    store.set_max_component_handles(MAX_HANDLES);
    store.epoch_deadline_callback(|mut context| on_tick(context.data_mut()));
    renew(store);
}

/// Gives the next call its share.
pub(super) fn renew(store: &mut Store<HostState>) {
    let host = store.data_mut();
    host.imports.calls_left = Some(MAX_CALLS);
    host.bounds.ticks = 0;
    store.set_epoch_deadline(1);
}

/// Lets an engine's time go on for as long as there is the engine. A forked child has no such thread, and no such bound.
pub(super) fn tick(engine: &Engine) -> wasmtime::Result<()> {
    let engine = engine.weak();
    let ticks = move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    };
    std::thread::Builder::new().name("kvlock-tick".into()).spawn(ticks)?;
    Ok(())
}

/// Notes that the component was at work when a tick passed, perhaps only because a call of the store took that long.
fn on_tick(host: &mut HostState) -> wasmtime::Result<UpdateDeadline> {
    let HostState { imports, bounds } = host;
    if bounds.calls_left != imports.calls_left {
        bounds.calls_left = imports.calls_left;
        bounds.ticks = 0;
    }
    bounds.ticks += 1;
    if bounds.ticks > MAX_TICKS {
        return Err(wasmtime::format_err!("it computes for more than {:?}", TICK * MAX_TICKS));
    }
    Ok(UpdateDeadline::Continue(1))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::component::config;
    use crate::environment::Environment;
    use crate::store::Memory;

    /// Compiled by build.rs with the settings of the component.
    static SPIN: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/spin.cwasm"));

    fn bounded(engine: &Engine) -> Store<HostState> {
        let imports = Imports::of(Environment::of(Memory::default()));
        let mut store = Store::new(engine, HostState { imports, bounds: Bounds::new() });
        impose(&mut store);
        store
    }

    #[test]
    fn a_loop_without_end_is_stopped() {
        let engine = Engine::new(&config::engine_config()).unwrap();
        // SAFETY: the bytes were made by build.rs with `Engine::precompile_module`, and are part of this program.
        let module = unsafe { wasmtime::Module::deserialize(&engine, SPIN) }.unwrap();
        let mut store = bounded(&engine);
        let instance = wasmtime::Instance::new(&mut store, &module, &[]).unwrap();
        let spin = instance.get_typed_func::<(), ()>(&mut store, "spin").unwrap();
        // Time flies: a second of the host is a millisecond here.
        let (done, end) = mpsc::channel::<()>();
        let ticks = std::thread::spawn(move || {
            while end.recv_timeout(Duration::from_millis(1)) == Err(mpsc::RecvTimeoutError::Timeout) {
                engine.increment_epoch();
            }
        });
        let error = spin.call(&mut store, ()).unwrap_err();
        drop(done);
        ticks.join().unwrap();
        assert!(format!("{error:#}").contains("it computes for more than 10s"), "{error:#}");
    }

    #[test]
    fn ticks_that_pass_in_calls_of_the_store_do_not_count() {
        let engine = Engine::new(&config::engine_config()).unwrap();
        let mut store = bounded(&engine);
        for _ in 0..MAX_TICKS * 3 {
            store.data_mut().imports.take_call().unwrap();
            assert!(on_tick(store.data_mut()).is_ok());
        }
        let ends = (0..=MAX_TICKS).any(|_| on_tick(store.data_mut()).is_err());
        assert!(ends, "ticks without such calls do");
    }

    #[test]
    fn calls_of_the_store_are_bounded_in_one_call_of_the_component_and_not_over_several() {
        let mut store = bounded(&Engine::new(&config::engine_config()).unwrap());
        for _ in 0..2 {
            renew(&mut store);
            let imports = &mut store.data_mut().imports;
            assert!((0..MAX_CALLS).all(|_| imports.take_call().is_ok()));
            assert!(imports.take_call().is_err());
        }
    }
}
