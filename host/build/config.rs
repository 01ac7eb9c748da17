/// The engine's settings. Shared by build.rs, which precompiles the component, and the library, which loads it: they
/// must agree.
pub(crate) fn engine_config() -> wasmtime::Config {
    let mut config = wasmtime::Config::new();
    config.wasm_component_model(true);
    // Every call is synchronous; without support for concurrent ones a call from host to guest takes a quarter of the
    // time.
    config.concurrency_support(false);
    config
}
