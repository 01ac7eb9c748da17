//! The crate `memcache` as the one that writes commands and reads replies, where that is not the hot path: see
//! [`Codec`].

use kvlock_protocol::{Code, Codec};
use memcache::exp::{MetaCommand, MetaOp, ReturnCode};

/// The crate's meta protocol layer.
pub(super) struct Memcache;

impl Codec for Memcache {
    fn get(request: &mut Vec<u8>, key: &str, flags: &[u8]) {
        let command = flags.iter().fold(MetaCommand::new(MetaOp::Get, key), |command, flag| command.flag([*flag]));
        // INVARIANT: encoding fails only for a key that is empty or too long, and every key was checked before.
        command.encode_into(request).expect("a checked key");
    }

    fn code(word: &[u8]) -> Option<Code> {
        Some(match ReturnCode::from_wire(word).ok()? {
            ReturnCode::Hd => Code::Hd,
            ReturnCode::Va => Code::Va,
            ReturnCode::En => Code::En,
            ReturnCode::Ns => Code::Ns,
            ReturnCode::Ex => Code::Ex,
            ReturnCode::Nf => Code::Nf,
            ReturnCode::Mn => Code::Mn,
            ReturnCode::Me => Code::Me,
            // A code that only a later crate knows answers no command of ours.
            _ => return None,
        })
    }
}
