//! An async wasmtime host, with the WASI of `wasmtime-wasi`: neither a wait nor a call of the store keeps its thread.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use kvlock::asynch::Client;
use kvlock::embed::{self, AsyncImports};
use kvlock_testkit::{Hook, Hooked, Memory, Op};
use wasmtime::component::{Component, Linker, ResourceAny, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

mod bindings {
    wasmtime::component::bindgen!({ path: "../wit", world: "kvlock", exports: { default: async } });
}

use bindings::Kvlock;
use bindings::exports::kvlock::lock::mutex::{LockOptions, Mode, SessionOptions, Ttl};

struct Host {
    lock: AsyncImports,
    wasi: WasiCtx,
    table: ResourceTable,
}

impl WasiView for Host {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// Compiled once.
static COMPONENT: LazyLock<(Engine, Component)> = LazyLock::new(|| {
    let engine = Engine::default();
    let component = Component::new(&engine, kvlock::COMPONENT).unwrap();
    (engine, component)
});

/// An instance, and a session in it.
struct Guest {
    store: Store<Host>,
    exports: Kvlock,
    session: ResourceAny,
}

#[derive(Clone, Copy)]
enum Wasi {
    Ours,
    OfWasmtime,
}

impl Guest {
    async fn open(client: &Client, wasi: Wasi, owner: &str) -> Guest {
        let (engine, component) = &*COMPONENT;
        let mut linker = Linker::<Host>::new(engine);
        match wasi {
            Wasi::Ours => embed::add_to_linker_async(&mut linker, |host| &mut host.lock).unwrap(),
            Wasi::OfWasmtime => {
                wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
                embed::add_store_to_linker_async(&mut linker, |host| &mut host.lock).unwrap();
            }
        }
        let (lock, wasi) = (AsyncImports::new(client), WasiCtx::builder().build());
        let mut store = Store::new(engine, Host { lock, wasi, table: ResourceTable::new() });
        let exports = Kvlock::instantiate_async(&mut store, component, &linker).await.unwrap();
        let options = SessionOptions {
            owner: owner.into(),
            label: String::new(),
            namespace: "kvlock".into(),
            quarantine: None,
            unix_time: None,
        };
        let session = exports.kvlock_lock_mutex().session().call_open(&mut store, &options).await.unwrap().unwrap();
        Guest { store, exports, session }
    }

    /// Waits for the lock, and returns the grant.
    async fn acquire(&mut self, wait: Option<Duration>) -> Result<ResourceAny, String> {
        let options = LockOptions {
            mode: Mode::Plain,
            lease: Ttl::After(30_000_000_000),
            wait: wait.map(|wait| wait.as_nanos() as u64),
            interval: 50_000_000,
            adopt: false,
            at_least: 0,
            note: None,
        };
        let (session, acquisition) =
            (self.exports.kvlock_lock_mutex().session(), self.exports.kvlock_lock_mutex().acquisition());
        let begun = session.call_lock(&mut self.store, self.session, "k", &options).await.unwrap().unwrap();
        let waited = acquisition.call_block(&mut self.store, begun).await.unwrap();
        waited.map_err(|error| format!("{error:?}"))
    }

    async fn release(&mut self, grant: ResourceAny) {
        let grants = self.exports.kvlock_lock_mutex().grant();
        grants.call_release(&mut self.store, grant).await.unwrap().unwrap();
    }
}

/// A server that takes a while to answer.
#[derive(Clone)]
struct Slow(Duration);

impl Hook for Slow {
    fn around<T>(
        &self,
        _: Op,
        _: &str,
        call: impl FnOnce() -> Result<T, kvlock::store::StoreError>,
    ) -> Result<T, kvlock::store::StoreError> {
        std::thread::sleep(self.0);
        call()
    }
}

/// Waits in one instance for what another holds, and counts what else runs on the thread meanwhile.
async fn others_run_while_it_waits(wasi: Wasi) {
    let client = Client::with_store(Hooked::new(Memory::default(), Slow(Duration::from_millis(100))));
    let mut holder = Guest::open(&client, wasi, "holder").await;
    let held = holder.acquire(None).await.unwrap();
    let mut waiter = Guest::open(&client, wasi, "waiter").await;
    let waits = tokio::spawn(async move {
        let refused = waiter.acquire(Some(Duration::from_millis(300))).await.unwrap_err();
        assert!(refused.contains("Busy"), "{refused}");
        let grant = waiter.acquire(None).await.unwrap();
        waiter.release(grant).await;
    });
    let (began, mut turns) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(1) {
        tokio::time::sleep(Duration::from_millis(1)).await;
        turns += 1;
    }
    // One thread: if a wait or an exchange of 100 ms kept it, there would be ten of them.
    assert!(turns > 50, "{turns}");
    holder.release(held).await;
    waits.await.unwrap();
}

#[tokio::test]
async fn with_the_wasi_of_wasmtime_others_run_while_a_component_waits() {
    others_run_while_it_waits(Wasi::OfWasmtime).await;
}

#[tokio::test]
async fn with_all_imports_of_ours_others_run_while_a_component_waits() {
    others_run_while_it_waits(Wasi::Ours).await;
}

#[tokio::test]
async fn an_instance_gives_back_what_another_took() {
    let client = Client::with_store(Memory::default());
    let mut first = Guest::open(&client, Wasi::OfWasmtime, "first").await;
    let grant = first.acquire(None).await.unwrap();
    let grants = first.exports.kvlock_lock_mutex().grant();
    let word = grants.call_write_out(&mut first.store, grant).await.unwrap().unwrap();
    drop(first);
    assert!(client.lock("k").try_acquire().await.unwrap().is_none());
    let mut second = Guest::open(&client, Wasi::OfWasmtime, "second").await;
    let sessions = second.exports.kvlock_lock_mutex().session();
    let grant = sessions.call_resume(&mut second.store, second.session, &word).await.unwrap().unwrap();
    second.release(grant).await;
    client.lock("k").try_acquire().await.unwrap().expect("it is free").release().await.unwrap();
}

/// The getter of the blocking linker and that of the async one are of two types: one cannot be taken for the other.
#[test]
fn the_imports_of_both_kinds_of_hosts_are_two_types() {
    let blocking: fn(&mut Linker<embed::Imports>) -> wasmtime::Result<()> =
        |linker| embed::add_to_linker(linker, |imports| imports);
    let awaited: fn(&mut Linker<AsyncImports>) -> wasmtime::Result<()> =
        |linker| embed::add_to_linker_async(linker, |imports| imports);
    let engine = Engine::default();
    blocking(&mut Linker::new(&engine)).unwrap();
    awaited(&mut Linker::new(&engine)).unwrap();
}
