//! The arrows between modules go one way: there is no circle, and none goes up in the order that
//! `docs/internals/architecture.md` draws.

mod graph;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use graph::Graph;
use kvlock_testkit::process;
use kvlock_tests::tree::workspace;

/// The drawings of a page: blocks whose first line is a source folder. Each further line is a floor, from the roof down:
/// its rooms, and behind two spaces what they are for.
fn drawings(page: &str) -> Vec<(String, Vec<Vec<String>>)> {
    let blocks = page.split("```").skip(1).step_by(2).map(|block| block.lines().skip(1));
    let drawing = |mut lines: std::iter::Skip<std::str::Lines<'_>>| {
        let folder = lines.next().filter(|line| line.ends_with("/src"))?;
        let rooms =
            |line: &str| line.trim().split("  ").next().unwrap_or_default().split(", ").map(String::from).collect();
        Some((folder.to_string(), lines.map(rooms).collect()))
    };
    blocks.filter_map(drawing).collect()
}

/// What is wrong with a crate: its circles, the arrows that do not go down, the rooms that the drawing lacks or invents.
fn faults(folder: &str, graph: &Graph, floors: &[Vec<String>]) -> Vec<String> {
    let floor: BTreeMap<&String, usize> =
        floors.iter().enumerate().flat_map(|(at, rooms)| rooms.iter().map(move |room| (room, at))).collect();
    let mut faults: Vec<_> = graph.circles().into_iter().map(|circle| format!("{folder}/{circle}")).collect();
    for (from, to) in graph.arrows.iter().filter(|(from, to)| from[0] != to[0]) {
        if let (Some(above), Some(below)) = (floor.get(&from[0]), floor.get(&to[0]))
            && above >= below
        {
            faults.push(format!("{folder}: {} uses {}, which is not below it", from.join("/"), to.join("/")));
        }
    }
    let drawn = |file: &&Vec<String>| !floor.contains_key(&file[0]);
    faults.extend(graph.files.iter().filter(drawn).map(|file| format!("{folder}: `{}` is not drawn", file[0])));
    let built = |room: &&&String| !graph.files.iter().any(|file| file[0] == ***room);
    faults.extend(floor.keys().filter(built).map(|room| format!("{folder}: `{room}` is drawn, and is not there")));
    faults.dedup();
    faults
}

#[test]
fn arrows_between_modules_go_one_way_as_the_architecture_draws_them() {
    let page = fs::read_to_string(workspace().join("docs/internals/architecture.md")).unwrap();
    let drawings = drawings(&page);
    let folders: Vec<_> = drawings.iter().map(|(folder, _)| folder.as_str()).collect();
    assert_eq!(
        folders,
        [
            "host/cli/src",
            "host/src",
            "host/queue/src",
            "protocol/src",
            "guest/memcached/src",
            "guest/component/src",
            "guest/machine/src"
        ]
    );
    let faults = drawings.iter().flat_map(|(folder, floors)| {
        let graph = Graph::read(&workspace().join(folder));
        assert!(graph.arrows.len() > 2, "{folder}: {} arrows are seen", graph.arrows.len());
        faults(folder, &graph, floors)
    });
    let faults: Vec<_> = faults.collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn one_room_of_the_library_knows_wasmtime() {
    let graph = Graph::read(&workspace().join("host/src"));
    let knows = graph.crates.iter().filter(|(_, crates)| crates.contains("wasmtime")).map(|(file, _)| file[0].as_str());
    let mut rooms: Vec<_> = knows.collect();
    rooms.dedup();
    assert_eq!(rooms, ["component", "embed"]);
}

/// What a feature of the library turns on: features and crates, and what those turn on.
fn turned_on(features: &serde_json::Value, name: &str) -> BTreeSet<String> {
    let words = features[name].as_array().into_iter().flatten().filter_map(|word| word.as_str());
    words.flat_map(|word| turned_on(features, word).into_iter().chain([word.to_string()])).collect()
}

/// In the workspace all features are on, so that nothing else misses a crate.
#[test]
fn each_store_asks_for_the_optional_crates_that_it_names() {
    let mut metadata = process::cargo();
    metadata.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]);
    let told = metadata.current_dir(workspace()).output().expect("cargo metadata");
    let told: serde_json::Value = serde_json::from_slice(&told.stdout).expect("what cargo tells of the workspace");
    let packages = told["packages"].as_array().expect("packages");
    let library = packages.iter().find(|package| package["name"] == "kvlock").expect("the library");
    let optional = library["dependencies"].as_array().into_iter().flatten().filter(|crate_| crate_["optional"] == true);
    let optional: BTreeSet<_> = optional.filter_map(|crate_| crate_["name"].as_str()).collect();
    let with_tls = turned_on(&library["features"], "tls");
    let (mut missing, mut seen) = (Vec::new(), 0);
    for (file, crates) in &Graph::read(&workspace().join("host/src")).crates {
        let [room, store, ..] = file.as_slice() else { continue };
        if room != "store" || library["features"].get(store).is_none() {
            continue;
        }
        let on = turned_on(&library["features"], store);
        for name in crates.iter().map(|name| name.replace('_', "-")).filter(|name| optional.contains(name.as_str())) {
            seen += 1;
            let asked = format!("dep:{name}");
            if !on.contains(&asked) && !with_tls.contains(&asked) {
                missing
                    .push(format!("{} names `{name}`, which the feature `{store}` does not ask for", file.join("/")));
            }
        }
    }
    assert!(seen > 10, "{seen} uses of optional crates are seen");
    assert!(missing.is_empty(), "{missing:#?}");
}

/// A crate with one arrow of each kind that is to be found.
fn crate_of(files: &[(&str, &str)]) -> (tempfile::TempDir, Graph) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let graph = Graph::read(folder.path());
    (folder, graph)
}

fn arrows(graph: &Graph) -> Vec<String> {
    graph.arrows.iter().map(|(from, to)| format!("{} > {}", from.join("/"), to.join("/"))).collect()
}

#[test]
fn a_circle_in_a_folder_and_an_arrow_upwards_are_found() {
    let (_folder, graph) = crate_of(&[
        ("lib.rs", "mod roof; mod ground; pub use roof::Roof; pub struct Root;"),
        ("roof.rs", "pub struct Roof; pub fn up() { crate::ground::a::stand() }"),
        ("ground/mod.rs", "pub mod a; mod b; pub(crate) use b::Hidden;"),
        ("ground/a.rs", "use super::Hidden; pub fn stand() -> Hidden { println!(\"{}\", crate::Roof::NAME); todo!() }"),
        ("ground/b.rs", "pub struct Hidden(fn()); fn of() -> Hidden { Hidden(super::a::stand) }"),
    ]);
    assert_eq!(arrows(&graph), ["ground/a > ground/b", "ground/a > roof", "ground/b > ground/a", "roof > ground/a"]);
    let page = "```text\nsmall/src\nlib\nroof  the top\nground, cellar\n```";
    let [(folder, floors)] = drawings(page).try_into().unwrap();
    assert_eq!(
        faults(&folder, &graph, &floors),
        [
            "small/src/: ground <-> roof",
            "small/src/ground/: a <-> b",
            "small/src: ground/a uses roof, which is not below it",
            "small/src: `cellar` is drawn, and is not there",
        ]
    );
}

#[test]
fn paths_are_followed_to_the_file_that_defines_what_they_name_and_tests_are_left_out() {
    let (_folder, graph) = crate_of(&[
        ("main.rs", "mod one; mod two; use two::deep::Deep as D; fn main() { D::new(one::CONST) }"),
        (
            "one.rs",
            "pub const CONST: u8 = 1; #[cfg(test)] mod tests { use crate::two::deep::Deep; } mod inner { use crate::two::Named; }",
        ),
        ("two.rs", "pub mod deep; pub use self::deep::Deep as Named; pub use std::vec::Vec as List;"),
        (
            "two/deep.rs",
            "use std::mem; pub struct Deep; fn list() -> crate::two::List<mem::Discriminant<u8>> { vec![] }",
        ),
    ]);
    assert_eq!(arrows(&graph), ["main > one", "main > two/deep", "one > two/deep", "two/deep > two/mod"]);
    assert_eq!(graph.crates[&["two", "deep"].map(String::from).to_vec()].iter().collect::<Vec<_>>(), ["std"]);
}
