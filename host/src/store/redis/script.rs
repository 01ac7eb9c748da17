//! The two scripts that a server runs for us.

use std::fmt::Write;
use std::sync::LazyLock;

use sha1::{Digest, Sha1};

/// A script, and the name under which a server keeps it.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) text: &'static str,
    digest: LazyLock<String>,
}

/// Tells the era of a hash, and begins one.
pub(super) static BEGIN: Script = Script { text: BEGIN_TEXT, digest: LazyLock::new(|| hex(BEGIN_TEXT)) };

/// Does one operation on an entry.
pub(super) static CALL: Script = Script { text: CALL_TEXT, digest: LazyLock::new(|| hex(CALL_TEXT)) };

const BEGIN_TEXT: &str = include_str!("begin.lua");
const CALL_TEXT: &str = include_str!("call.lua");

impl Script {
    pub(super) fn digest(&self) -> &str {
        &self.digest
    }
}

fn hex(text: &str) -> String {
    Sha1::digest(text).iter().fold(String::new(), |mut hex, byte| {
        // Writing to a string does not fail.
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}
