"""The PyPI package `wasmtime` as a platform: it gives components WASI 0.2 with sockets, and no host code.

From version 48 on its C interface has no switch for TCP, so this is version 47.
"""

from wasmtime import DirPerms, Engine, FilePerms, Store, WasiConfig, _bindings
from wasmtime.component import Component, Linker


class Platform:
    """A component, and what it may reach: the variables of its environment, the network, and a directory."""

    def __init__(self, path, variables, directory=None):
        self.variables, self.directory = list(variables), directory
        self.engine = Engine()
        load = Component.deserialize_file if path.endswith(".cwasm") else Component.from_file
        self.component = load(self.engine, path)
        self.linker = Linker(self.engine)
        self.linker.add_wasip2()

    def instantiate(self, store, component):
        """Makes an instance in a store of this engine."""
        config = WasiConfig()
        config.env = self.variables
        config.inherit_stdout()
        config.inherit_stderr()
        # The package has the function of the C interface, and no method for it.
        _bindings.wasi_config_inherit_network(config.ptr())
        if self.directory is not None:
            config.preopen_dir(self.directory, ".", DirPerms.READ_WRITE, FilePerms.READ_WRITE)
        store.set_wasi(config)
        return self.linker.instantiate(store, component)

    def run(self):
        """Runs the component as `wasmtime run` does; true if it says that all is well."""
        store = Store(self.engine)
        instance = self.instantiate(store, self.component)
        interface = instance.get_export_index(store, "wasi:cli/run@0.2.0")
        function = instance.get_func(store, instance.get_export_index(store, "run", interface))
        return function(store).tag == "ok"
