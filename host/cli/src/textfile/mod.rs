//! `--metrics`: the metrics of this run, in a file in Prometheus' text format.
//!
//! The textfile collector of Prometheus' node_exporter reads all files of a folder whose names end with `.prom`, at any
//! time. So the file is written beside its place, and renamed.

mod recorder;
mod run;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use prometheus::{Registry, TextEncoder};

use crate::report::exit::{Exit, Status};
use crate::report::output::{self, one_line};
use crate::textfile::recorder::PrometheusRecorder;
use crate::textfile::run::Run;

/// The label that tells the files of a folder apart: the collector refuses the same series twice.
const NAME: &str = "name";

/// The file, and what will stand in it.
pub(crate) struct Textfile {
    path: PathBuf,
    registry: Registry,
    started: Instant,
}

impl Textfile {
    /// Begins to count. Fails if the file cannot be written, as far as that can be known now: nothing is locked so far.
    pub(crate) fn begin(path: &Path) -> Result<Self> {
        let begun = Textfile::try_begin(path);
        let refused = |error| {
            let path = path.display();
            let help = "nothing was done; name a file in a folder that kvlock may write to";
            Exit::usage(one_line(format!("cannot write metrics to `{path}`: {error:#}; {help}"))).into()
        };
        begun.map_err(refused)
    }

    fn try_begin(path: &Path) -> Result<Self> {
        let name = path.file_stem().context("it names no file")?.to_string_lossy().into_owned();
        match fs::symlink_metadata(path) {
            Ok(there) if !there.is_file() => return Err(anyhow!("it is there, and is no regular file")),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let beside = beside(path);
        File::create_new(&beside)?;
        fs::remove_file(&beside)?;
        let registry = Registry::new_custom(None, Some(HashMap::from([(NAME.to_string(), name)])))?;
        metrics::set_global_recorder(PrometheusRecorder::new(registry.clone()))
            .map_err(|_| anyhow!("metrics are counted already"))?;
        Ok(Textfile { path: path.to_path_buf(), registry, started: Instant::now() })
    }

    /// Writes the file. If that is not possible, one line says so: kvlock ends as it would without the file.
    pub(crate) fn write(self, status: Status, is_ok: bool) {
        if let Err(error) = self.try_write(status, is_ok) {
            let path = self.path.display();
            output::say(one_line(format_args!("cannot write metrics to `{path}`: {error:#}")));
        }
    }

    fn try_write(&self, status: Status, is_ok: bool) -> Result<()> {
        let before = fs::read_to_string(&self.path).unwrap_or_default();
        let run = Run { status, is_ok, took: self.started.elapsed() };
        run.register(&self.registry, &before)?;
        let text = TextEncoder::new().encode_to_string(&self.registry.gather())?;
        let beside = beside(&self.path);
        let written = File::create_new(&beside).and_then(|mut file| file.write_all(text.as_bytes()));
        let renamed = written.and_then(|()| fs::rename(&beside, &self.path));
        Ok(renamed.inspect_err(|_| _ = fs::remove_file(&beside))?)
    }
}

/// Returns the place where a file is written before it is renamed. The collector does not read it, and no other process
/// uses it.
fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{}", std::process::id()))
}
