//! The components that people take, each with a version in its name: the lock, the store on memcached, both composed, and
//! the WIT package; their digests, and what they are made of.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use wit_parser::Resolve;

use crate::component::MEMCACHED;
use crate::compose::compose;
use crate::guest::{self, describe};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The crates whose code is in the components.
const CRATES: [&str; 2] = ["kvlock-component", "kvlock-memcached"];

/// Puts all of them into a folder. Two runs on the same sources write the same bytes.
pub(crate) fn make(workspace: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let checked_in = |path: &str| fs::read(workspace.join(path)).with_context(|| format!("cannot read {path}"));
    let (lock, store) = (checked_in(guest::LOCK.checked_in)?, checked_in(MEMCACHED.checked_in)?);
    let mut composed = compose(&[&store], &lock)?;
    describe(
        &mut composed,
        "kvlock-memcached",
        "A distributed lock on memcached, for platforms that take components: its store is named by KVLOCK_STORE",
    );
    let files = [
        ("kvlock", lock),
        ("kvlock-store-memcached", store),
        ("kvlock-memcached", composed),
        ("kvlock-wit", wit(workspace)?),
    ];
    let mut sums = String::new();
    for (name, bytes) in files {
        let name = format!("{name}-{VERSION}.wasm");
        sums.push_str(&format!("{}  {name}\n", hexadecimal(&Sha256::digest(&bytes))));
        fs::write(folder.join(name), bytes)?;
    }
    let name = format!("kvlock-{VERSION}.cdx.json");
    let materials = format!("{:#}\n", materials(workspace)?);
    sums.push_str(&format!("{}  {name}\n", hexadecimal(&Sha256::digest(&materials))));
    fs::write(folder.join(name), materials)?;
    fs::write(folder.join("SHA256SUMS"), sums)?;
    eprintln!("{}", folder.display());
    Ok(())
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The WIT package as registries keep it.
fn wit(workspace: &Path) -> Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(workspace.join("wit"))?;
    let mut encoded = wit_component::encode(&resolve, package)?;
    describe(&mut encoded, "kvlock:lock", "The contract of kvlock: a lock, and what it needs from a store");
    Ok(encoded)
}

/// The crates in the components, with their licences, as CycloneDX has them. It has no time and no serial number, so
/// that it is the same each time.
fn materials(workspace: &Path) -> Result<Value> {
    let mut tree = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    tree.current_dir(workspace).args(["tree", "--locked", "--edges", "normal,no-proc-macro", "--prefix", "none"]);
    tree.args(["--target", "wasm32-unknown-unknown", "--format", "{p}|{l}"]);
    CRATES.iter().for_each(|name| _ = tree.args(["--package", name]));
    let output = tree.output().context("cannot run cargo tree")?;
    ensure!(output.status.success(), "cargo tree: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let mut crates: Vec<_> = text.lines().filter_map(|line| line.split_once('|')).map(material).collect();
    crates.sort();
    crates.dedup();
    let components: Vec<_> = crates
        .iter()
        .map(|(name, version, license)| {
            json!({
                "type": "library",
                "name": name,
                "version": version,
                "licenses": [{ "expression": license }],
                "purl": format!("pkg:cargo/{name}@{version}"),
            })
        })
        .collect();
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": { "component": { "type": "library", "name": "kvlock-memcached", "version": VERSION } },
        "components": components,
    }))
}

/// Takes apart `name v1.2.3 (where it is)` and its licence.
fn material((package, license): (&str, &str)) -> (String, String, String) {
    let mut words = package.split(' ');
    let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    // An old way to say OR.
    let license = license.trim_end_matches(" (*)").replace('/', " OR ");
    (name.to_string(), version.trim_start_matches('v').to_string(), license)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use wit_component::DecodedWasm;

    use super::*;

    /// What the task writes, by the names of the files without their version.
    fn made() -> BTreeMap<String, Vec<u8>> {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        make(workspace, folder.path()).unwrap();
        let files = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap());
        let name = |name: std::ffi::OsString| name.into_string().unwrap().replace(&format!("-{VERSION}"), "");
        files.map(|file| (name(file.file_name()), fs::read(file.path()).unwrap())).collect()
    }

    #[test]
    fn what_people_take_is_the_same_each_time_and_says_what_it_is() {
        let made = made();
        assert!(made == self::made(), "the same bytes");
        let names: Vec<_> = made.keys().map(String::as_str).collect();
        let wasm = ["kvlock-memcached.wasm", "kvlock-store-memcached.wasm", "kvlock-wit.wasm", "kvlock.wasm"];
        assert_eq!(names, [&["SHA256SUMS"], &wasm[..3], &["kvlock.cdx.json"], &wasm[3..]].concat());
        for (file, name) in
            wasm.into_iter().zip(["kvlock-memcached", "kvlock-store-memcached", "kvlock:lock", "kvlock"])
        {
            let payload = wasm_metadata::Payload::from_binary(&made[file]).unwrap();
            let metadata = payload.metadata();
            assert_eq!(metadata.name.as_deref(), Some(name));
            assert_eq!(metadata.version.as_ref().unwrap().to_string(), VERSION, "{file}");
            assert_eq!(metadata.licenses.as_ref().unwrap().to_string(), "MIT OR Apache-2.0", "{file}");
            assert!(metadata.description.is_some(), "{file}");
        }
        let sums = String::from_utf8(made["SHA256SUMS"].clone()).unwrap();
        assert_eq!(sums.lines().count(), 5);
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").unwrap();
            let bytes = &made[&name.replace(&format!("-{VERSION}"), "")];
            assert_eq!(sum, hexadecimal(&Sha256::digest(bytes)), "{name}");
        }
    }

    #[test]
    fn the_wit_package_is_read_as_a_package_and_the_composed_component_as_a_component() {
        let made = made();
        let Ok(DecodedWasm::WitPackage(resolve, package)) = wit_component::decode(&made["kvlock-wit.wasm"]) else {
            panic!("no package");
        };
        assert_eq!(resolve.packages[package].name.to_string(), format!("kvlock:lock@{VERSION}"));
        let mut interfaces: Vec<_> = resolve.packages[package].interfaces.keys().map(String::as_str).collect();
        interfaces.sort_unstable();
        assert_eq!(interfaces, ["conflict-retry", "kv-store", "mutex", "semaphore", "types"]);
        assert!(matches!(wit_component::decode(&made["kvlock-memcached.wasm"]), Ok(DecodedWasm::Component(..))));
    }

    #[test]
    fn the_list_of_materials_names_every_crate_with_its_licence() {
        let materials = materials(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()).unwrap();
        let components = materials["components"].as_array().unwrap();
        let named = |name: &str| components.iter().find(|component| component["name"] == name);
        for name in ["kvlock-machine", "kvlock-protocol", "sha2", "dlmalloc", "wit-bindgen"] {
            let found = named(name).unwrap_or_else(|| panic!("{name}"));
            assert!(
                found["licenses"][0]["expression"].as_str().is_some_and(|license| license.contains("MIT")),
                "{found}"
            );
        }
        assert!(named("wasmtime").is_none() && named("memcache").is_none());
    }
}
