"""The manifests for Spin and wasmCloud say what those platforms read, and the page shows them as they are.

The names are those of Spin's manifest of version 2 (crates/manifest/src/schema/v2.rs of spinframework/spin) and of the
WorkloadDeployment of wasmCloud 2 (runtime.wasmcloud.dev_workloaddeployments.yaml). Both refuse names that they do not
know, and a wrong one among the rights is a component that may do nothing.
"""

import ipaddress
import pathlib
import re
import tomllib
import unittest
from urllib.parse import urlsplit

import yaml

WORKSPACE = pathlib.Path(__file__).parents[3]
WEB = WORKSPACE / "examples/web"

# What kvlock needs of what Spin calls capabilities; others are `files`, `key_value_stores`, `sqlite_databases`, ...
SPIN_CAPABILITIES = {"allowed_outbound_hosts", "environment"}
SPIN_COMPONENT = {"source", "allowed_outbound_hosts", "environment", "dependencies"}
SPIN_DEPENDENCY = {"path", "inherit_configuration"}
WASMCLOUD_COMPONENT = {"name", "image", "localResources"}
WASMCLOUD_RESOURCES = {"environment", "allowedHosts"}


class Templates(unittest.TestCase):
    def assertIsAddress(self, url, allowed):
        """The store is named by an address, and that address with its port is what may be reached."""
        store = urlsplit(url)
        self.assertEqual(store.scheme, "memcached")
        ipaddress.ip_address(store.hostname)
        self.assertEqual(allowed, [store.netloc])

    def test_spin(self):
        text = (WEB / "spin.toml").read_text()
        manifest = tomllib.loads(text)
        self.assertEqual(manifest["spin_manifest_version"], 2)
        self.assertEqual({trigger["component"] for trigger in manifest["trigger"]["http"]}, {"web"})
        web = manifest["component"]["web"]
        self.assertLessEqual(set(web), SPIN_COMPONENT)
        self.assertTrue((WEB / web["source"]).exists())
        hosts = [host.removeprefix("tcp://") for host in web["allowed_outbound_hosts"]]
        self.assertIsAddress(web["environment"]["KVLOCK_STORE"], hosts)
        # One for the package: it must export whatever of the package is imported.
        (package, lock), = web["dependencies"].items()
        version = re.search(r'^version = "(.*)"', (WORKSPACE / "Cargo.toml").read_text(), re.MULTILINE)[1]
        self.assertEqual(package, f"kvlock:lock@{version}")
        self.assertEqual(set(lock), SPIN_DEPENDENCY)
        self.assertEqual(lock["path"], f"kvlock-memcached-{version}.wasm")
        self.assertEqual(set(lock["inherit_configuration"]), SPIN_CAPABILITIES)
        # The page shows the part about the component.
        shown = text[text.index("[component.web]") :]
        shown = "\n".join(line for line in shown.splitlines() if not line.startswith("#"))
        self.assertIn(shown, (WORKSPACE / "docs/platforms.md").read_text())

    def test_wasmcloud(self):
        manifest = yaml.safe_load((WEB / "wasmcloud.yaml").read_text())
        self.assertEqual(manifest["apiVersion"], "runtime.wasmcloud.dev/v1alpha1")
        self.assertEqual(manifest["kind"], "WorkloadDeployment")
        workload = manifest["spec"]["template"]["spec"]
        (interface,) = workload["hostInterfaces"]
        self.assertEqual((interface["namespace"], interface["package"]), ("wasi", "http"))
        self.assertEqual(interface["interfaces"], ["incoming-handler"])
        (web,) = workload["components"]
        self.assertEqual(set(web), WASMCLOUD_COMPONENT)
        resources = web["localResources"]
        self.assertEqual(set(resources), WASMCLOUD_RESOURCES)
        self.assertIsAddress(resources["environment"]["config"]["KVLOCK_STORE"], resources["allowedHosts"])


if __name__ == "__main__":
    unittest.main()
