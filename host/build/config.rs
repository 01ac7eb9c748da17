/// The engine's settings. Shared by build.rs, which precompiles the component, and the library, which loads it: they
/// must agree.
pub(crate) fn engine_config() -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config.wasm_component_model(true);
    // Every call is synchronous; without support for concurrent ones a call from host to guest takes a quarter of the
    // time.
    config.concurrency_support(false);
    // So that a component that computes for ever is stopped: see `engine/bounds.rs`. Fuel would be simpler, and costs
    // several times as much.
    config.epoch_interruption(true);
    // Nobody unwinds through the component or asks at which of its bytes it trapped: a sixth of what is compiled.
    config.native_unwind_info(false);
    config.generate_address_map(false);
    config
}
