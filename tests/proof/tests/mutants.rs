//! The checker finds what is broken on purpose. Each file of `mutants/` is a patch of the machines, or
//! of the queues of a process, with a line that says
//! what it breaks. The checker is built once, against a copy of the machines in which each function that a patch changes
//! has the body of each mutant beside its own; which one runs is chosen at the start. For each mutant it must find a
//! violation and tell it so that a person can follow. A line `In: NAME` names the world in which it is to look; without
//! one it searches them all, until it finds something.
//!
//! To try one of your own, put its patch there, or change `guest/machine/src` and run `cargo xtask prove`.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use kvlock_testkit::process;
use kvlock_tests::tree::workspace;
use syn::visit::Visit;

/// Which mutant the checker is to run; none runs the machines as they are.
const CHOICE: &str = "KVLOCK_MUTANT";

/// What the copy of the machines has beside them.
const CHOOSER: &str = r#"
#[allow(missing_docs)]
mod mutant {
    extern crate std;

    pub(crate) fn chosen() -> usize {
        static CHOSEN: std::sync::LazyLock<usize> =
            std::sync::LazyLock::new(|| std::env::var(CHOICE).map_or(0, |number| number.parse().unwrap()));
        *CHOSEN
    }
}
"#;

/// Whoever changes the machines sees at once whether a patch is to be made anew.
#[test]
fn every_patch_fits_the_machines_as_they_are() {
    for mutant in mutants().expect("the patches can be read") {
        let original = fs::read_to_string(workspace().join(&mutant.file)).expect("the file that it changes");
        with_choices(&original, &[(1, &mutant)]).unwrap_or_else(|why| panic!("{}: {why:#}", mutant.name));
    }
}

#[test]
fn every_mutant_is_found_with_a_counter_example_that_can_be_read() {
    let mutants = mutants().expect("the patches can be read");
    assert!(mutants.len() >= 8, "{} mutants", mutants.len());
    let began = Instant::now();
    let laboratory = Laboratory::set_up(&mutants).expect("the copy can be made");
    laboratory.build().expect("the checker builds against the copy");
    println!("built in {:.1} s", began.elapsed().as_secs_f64());
    let mut missed = Vec::new();
    for (index, mutant) in mutants.iter().enumerate() {
        let began = Instant::now();
        match laboratory.check(index + 1, mutant) {
            Ok(story) => {
                println!("{}, in {:.1} s: {}\n{story}\n", mutant.name, began.elapsed().as_secs_f64(), mutant.breaks);
            }
            Err(error) => missed.push(format!("{}: {error:#}", mutant.name)),
        }
    }
    assert!(missed.is_empty(), "not found:\n{}", missed.join("\n"));
}

/// A patch of the machines.
struct Mutant {
    name: String,
    /// What it breaks, in words.
    breaks: String,
    /// The world in which that shows.
    world: Option<String>,
    /// The file that it changes, from the workspace's folder.
    file: String,
    /// What is in the file then.
    text: String,
}

fn mutants() -> Result<Vec<Mutant>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(crate_folder().join("mutants"))?.flatten().map(|file| file.path()).collect();
    paths.sort();
    paths.iter().map(|path| mutant(path)).collect()
}

fn mutant(path: &Path) -> Result<Mutant> {
    let text = fs::read_to_string(path)?;
    let start = text.find("--- ").with_context(|| format!("{} is no patch", path.display()))?;
    let (head, patch) = text.split_at(start);
    let (breaks, world) =
        head.trim().split_once("\nIn: ").map_or((head.trim(), None), |(breaks, world)| (breaks, Some(world)));
    let name = path.file_stem().context("a patch has a name")?.to_string_lossy().into_owned();
    ensure!(!breaks.is_empty(), "{name} does not say what it breaks");
    let patch = diffy::Patch::from_str(patch).with_context(|| format!("{name} cannot be read"))?;
    let file = patch.modified().and_then(|file| file.strip_prefix("b/"));
    let file = file.with_context(|| format!("{name} names no file"))?.to_owned();
    let original = fs::read_to_string(workspace().join(&file)).with_context(|| format!("reading {file} for {name}"))?;
    let text =
        diffy::apply(&original, &patch).with_context(|| format!("{name} does not fit any more; make it anew"))?;
    Ok(Mutant { name, breaks: breaks.into(), world: world.map(str::to_owned), file, text })
}

/// The text of a file in which the functions that mutants change choose between their bodies; each mutant by its number.
fn with_choices(original: &str, mutants: &[(usize, &Mutant)]) -> Result<String> {
    let own = Bodies::of(original)?;
    let mut bodies: Vec<String> = own.texts(original).map(str::to_owned).collect();
    for (number, mutant) in mutants {
        let changed = Bodies::of(&mutant.text).with_context(|| format!("{} is no Rust", mutant.name))?;
        ensure!(
            changed.without(&mutant.text) == own.without(original),
            "{} changes more than bodies of functions, and they alone can be chosen",
            mutant.name
        );
        for ((body, own), changed) in bodies.iter_mut().zip(own.texts(original)).zip(changed.texts(&mutant.text)) {
            if own != changed {
                *body = format!("{{ if crate::mutant::chosen() == {number} {changed} else {body} }}");
            }
        }
    }
    let mut text = String::new();
    let mut end = 0;
    for (range, body) in own.0.iter().zip(bodies) {
        text += &original[end..range.start];
        text += &body;
        end = range.end;
    }
    Ok(text + &original[end..])
}

/// Where the bodies of a file's functions are, their braces included. A function inside another is part of it.
struct Bodies(Vec<Range<usize>>);

impl Bodies {
    fn of(text: &str) -> Result<Bodies> {
        let mut bodies = Bodies(Vec::new());
        bodies.visit_file(&syn::parse_file(text)?);
        Ok(bodies)
    }

    fn texts<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|range| &text[range.clone()])
    }

    /// All that stands around them.
    fn without<'a>(&self, text: &'a str) -> Vec<&'a str> {
        let starts = [0].into_iter().chain(self.0.iter().map(|range| range.end));
        let ends = self.0.iter().map(|range| range.start).chain([text.len()]);
        starts.zip(ends).map(|(start, end)| &text[start..end]).collect()
    }
}

impl<'ast> Visit<'ast> for Bodies {
    fn visit_block(&mut self, block: &'ast syn::Block) {
        let braces = &block.brace_token.span;
        self.0.push(braces.open().byte_range().start..braces.close().byte_range().end);
    }

    fn visit_expr(&mut self, _: &'ast syn::Expr) {
        // A constant's value has no body.
    }
}

/// A copy of the machines and of the checker, in a workspace of its own.
struct Laboratory {
    folder: PathBuf,
}

impl Laboratory {
    fn set_up(mutants: &[Mutant]) -> Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        let workspace = workspace();
        for part in ["guest/machine/src", "host/queue/src", "tests/model/src", "tests/proof/src"] {
            let _ = fs::remove_dir_all(folder.join(part));
            copy(&workspace.join(part), &folder.join(part))?;
        }
        let manifests =
            ["guest/machine", "host/queue", "tests/model", "tests/proof"].map(|part| format!("{part}/Cargo.toml"));
        for manifest in manifests.iter().map(String::as_str).chain(["Cargo.lock"]) {
            // Tests need more of the workspace than the copy has.
            let text = without_section(&fs::read_to_string(workspace.join(manifest))?, "[dev-dependencies]");
            fs::write(folder.join(manifest), text)?;
        }
        // The checker does without the host; cargo wants to see these manifests all the same.
        for (part, name) in [("host", "kvlock"), ("tests/testkit", "kvlock-testkit")] {
            let stub = format!("[package]\nname = \"{name}\"\nversion.workspace = true\nedition.workspace = true\n");
            fs::create_dir_all(folder.join(part).join("src"))?;
            fs::write(folder.join(part).join("Cargo.toml"), stub)?;
            fs::write(folder.join(part).join("src/lib.rs"), "")?;
        }
        let root = fs::read_to_string(workspace.join("Cargo.toml"))?;
        let shared = root.find("[workspace.package]").context("the workspace has settings")?;
        let members =
            "[workspace]\nresolver = \"3\"\nmembers = [\"guest/machine\", \"tests/*\", \"host\", \"host/queue\"]\n\n";
        fs::write(folder.join("Cargo.toml"), format!("{members}{}", &root[shared..]))?;
        let mut changed: BTreeMap<&str, Vec<(usize, &Mutant)>> = BTreeMap::new();
        for (index, mutant) in mutants.iter().enumerate() {
            changed.entry(&mutant.file).or_default().push((index + 1, mutant));
        }
        for (file, mutants) in changed {
            let original = fs::read_to_string(workspace.join(file))?;
            fs::write(folder.join(file), with_choices(&original, &mutants)?)?;
        }
        for library in ["guest/machine/src/lib.rs", "host/queue/src/lib.rs"].map(|library| folder.join(library)) {
            let text = fs::read_to_string(&library)?;
            fs::write(library, text + &CHOOSER.replace("CHOICE", &format!("{CHOICE:?}")))?;
        }
        Ok(Laboratory { folder })
    }

    fn build(&self) -> Result<()> {
        let mut cargo = process::cargo();
        cargo.args(["build", "--quiet", "--offline", "--package", "kvlock-proof", "--no-default-features"]);
        cargo.args(["--bin", "kvlock-model"]).current_dir(&self.folder);
        cargo.env("CARGO_TARGET_DIR", self.folder.join("target")).env("CARGO_INCREMENTAL", "1");
        let output = cargo.output()?;
        ensure!(output.status.success(), "it does not build:\n{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The counter-example.
    fn check(&self, number: usize, mutant: &Mutant) -> Result<String> {
        let mut model = process::command(self.folder.join("target/debug/kvlock-model"));
        model.env(CHOICE, number.to_string());
        model.args(&mutant.world);
        let output = model.output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if output.status.success() {
            bail!("the checker finds nothing wrong");
        }
        let story = text.find("broken: ").context("it ends without a counter-example")?;
        let begins = text[..story].rfind('\n').map_or(0, |end| end + 1);
        let story = text[begins..].trim_end().to_string();
        ensure!(story.lines().count() > 2 && story.contains(" s  "), "it tells no story:\n{story}");
        Ok(story)
    }
}

fn without_section(manifest: &str, heading: &str) -> String {
    let Some((before, section)) = manifest.split_once(heading) else { return manifest.to_owned() };
    before.to_owned() + section.find("\n[").map_or("", |next| &section[next..])
}

fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        let target = to.join(path.file_name().context("an entry has a name")?);
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            fs::copy(&path, &target)?;
        }
    }
    Ok(())
}
