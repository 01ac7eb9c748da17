//! The log: what the library tells through the crate `tracing`, on stderr, as lines of text or of JSON. Neither kvlock nor
//! a thread of the library waits for its reader.

use std::fmt::{self, Debug};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;

use crate::report::stderr;

/// Prints the library's events on stderr from now on, if that is wanted: as text, or as JSON if all else is JSON.
pub(crate) fn begin(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => Level::DEBUG,
        _ => Level::TRACE,
    };
    stderr::begin_log();
    let lines = tracing_subscriber::fmt().with_max_level(level).with_target(false).with_writer(|| stderr::Log);
    // Otherwise it would report on stderr that it cannot write to stderr, and panic.
    let lines = lines.log_internal_errors(false);
    let only_events = filter_fn(|metadata| metadata.is_event());
    match stderr::speaks_json() {
        true => lines.event_format(JsonLines).finish().with(only_events).init(),
        false => lines.finish().with(only_events).init(),
    }
}

/// Formats each event as one JSON object.
struct JsonLines;

/// A line of the log.
#[derive(Serialize)]
struct LogJson<'a> {
    time: String,
    level: String,
    message: &'a str,
    /// The key or the semaphore that the line is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a Value>,
    /// What else it tells.
    fields: &'a Map<String, Value>,
}

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut told = Told::default();
        event.record(&mut told);
        let line = LogJson {
            time: stderr::moment(SystemTime::now()),
            level: event.metadata().level().to_string().to_lowercase(),
            message: &told.message,
            key: told.key.as_ref(),
            fields: &told.fields,
        };
        writeln!(writer, "{}", serde_json::to_string(&line).map_err(|_| fmt::Error)?)
    }
}

/// The parts of an event.
#[derive(Default)]
struct Told {
    message: String,
    key: Option<Value>,
    fields: Map<String, Value>,
}

impl Told {
    fn add(&mut self, field: &Field, value: Value) {
        match field.name() {
            "key" | "semaphore" => self.key = Some(value),
            name => _ = self.fields.insert(name.to_string(), value),
        }
    }
}

impl Visit for Told {
    fn record_u64(&mut self, field: &Field, value: u64) {
        // A double cannot hold all digits of a token.
        let is_token = field.name() == "token";
        self.add(field, if is_token { value.to_string().into() } else { value.into() });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            _ => self.add(field, format!("{value:?}").into()),
        }
    }
}
