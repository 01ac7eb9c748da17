//! The checker finds what is broken on purpose. Each file of `mutants/` is a patch of the machines with a line that says
//! what it breaks; it is applied to a copy of them, the checker is built against that copy, and must find a violation
//! and tell it so that a person can follow.
//!
//! To try one of your own, put its patch there, or change `guest/machine/src` and run `cargo xtask prove`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use kvlock_tests::process;

#[test]
fn every_mutant_is_found_with_a_counter_example_that_can_be_read() {
    let laboratory = Laboratory::set_up().expect("the copy can be made");
    let mutants = mutants().expect("the patches can be read");
    assert!(mutants.len() >= 8, "{} mutants", mutants.len());
    laboratory.build().expect("the checker builds against the copy");
    let mut missed = Vec::new();
    for mutant in mutants {
        let began = Instant::now();
        match laboratory.examine(&mutant) {
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
    patch: String,
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
    let (breaks, patch) = text.split_at(start);
    let name = path.file_stem().context("a patch has a name")?.to_string_lossy().into_owned();
    ensure!(!breaks.trim().is_empty(), "{name} does not say what it breaks");
    Ok(Mutant { name, breaks: breaks.trim().into(), patch: patch.into() })
}

/// A copy of the machines and of the checker, in a workspace of its own.
struct Laboratory {
    folder: PathBuf,
}

impl Laboratory {
    fn set_up() -> Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mutants");
        let workspace = workspace();
        for part in ["guest/machine/src", "tests/proof/src"] {
            let _ = fs::remove_dir_all(folder.join(part));
            copy(&workspace.join(part), &folder.join(part))?;
        }
        for manifest in ["guest/machine/Cargo.toml", "tests/proof/Cargo.toml", "Cargo.lock"] {
            let text = fs::read_to_string(workspace.join(manifest))?;
            // Its tests need more of the workspace than the copy has.
            fs::write(folder.join(manifest), text.replace("kvlock-tests = { path = \"..\" }\n", ""))?;
        }
        // The checker does without the host; cargo wants to see its manifest all the same.
        let stub = "[package]\nname = \"kvlock\"\nversion.workspace = true\nedition.workspace = true\n";
        fs::create_dir_all(folder.join("host/src"))?;
        fs::write(folder.join("host/Cargo.toml"), stub)?;
        fs::write(folder.join("host/src/lib.rs"), "")?;
        let root = fs::read_to_string(workspace.join("Cargo.toml"))?;
        let shared = root.find("[workspace.package]").context("the workspace has settings")?;
        let members = "[workspace]\nresolver = \"3\"\nmembers = [\"guest/machine\", \"tests/proof\", \"host\"]\n\n";
        fs::write(folder.join("Cargo.toml"), format!("{members}{}", &root[shared..]))?;
        Ok(Laboratory { folder })
    }

    fn build(&self) -> Result<()> {
        let mut cargo = process::tool(env!("CARGO"));
        cargo.args(["build", "--quiet", "--offline", "--package", "kvlock-proof", "--no-default-features"]);
        cargo.args(["--bin", "kvlock-model"]).current_dir(&self.folder);
        // One folder for all mutants: what does not change is built once.
        cargo.env("CARGO_TARGET_DIR", self.folder.join("target")).env("CARGO_INCREMENTAL", "1");
        let output = cargo.output()?;
        ensure!(output.status.success(), "it does not build:\n{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// The counter-example.
    fn examine(&self, mutant: &Mutant) -> Result<String> {
        let patch = diffy::Patch::from_str(&mutant.patch).context("the patch cannot be read")?;
        let file = patch.modified().and_then(|file| file.strip_prefix("b/")).context("the patch names no file")?;
        let path = self.folder.join(file);
        let original = fs::read_to_string(workspace().join(file))?;
        let changed = diffy::apply(&original, &patch).context("the patch does not fit any more; make it anew")?;
        fs::write(&path, changed)?;
        let found = self.build().and_then(|()| self.check(mutant, file));
        fs::write(&path, original)?;
        found
    }

    fn check(&self, mutant: &Mutant, file: &str) -> Result<String> {
        let mut model = process::command(self.folder.join("target/debug/kvlock-model"));
        // What is broken there the locks do not have.
        if file.contains("/semaphore/") || file.contains("conflict_retry") {
            model.arg("--crowd");
        }
        // An unfair line excludes as well as any, and out of line nobody meets it.
        for worlds in ["line", "turns"] {
            if mutant.name.starts_with(worlds) {
                model.arg(worlds);
            }
        }
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

fn crate_folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn workspace() -> PathBuf {
    crate_folder().ancestors().nth(2).expect("the crate lies in the workspace").to_path_buf()
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
