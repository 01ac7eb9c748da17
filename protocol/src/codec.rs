//! The meta commands that no haste writes, and the codes of their replies. The crate `memcache` knows both, and the
//! native host leaves them to it. It cannot be built for a guest, which has [`Plain`]. A test and a fuzzer hold the
//! two against each other.

use alloc::vec::Vec;

/// Writes meta commands and reads the codes of their replies.
pub trait Codec {
    /// Appends `mg <key>` with its flags, a letter each. The key is a legal one.
    fn get(request: &mut Vec<u8>, key: &str, flags: &[u8]);

    /// Reads the first word of a reply; none for what begins no reply to a meta command.
    fn code(word: &[u8]) -> Option<Code>;
}

/// The code of a reply to a meta command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// Done.
    Hd,
    /// Done, and a value follows.
    Va,
    /// There is no item.
    En,
    /// Not stored.
    Ns,
    /// The item has another CAS value.
    Ex,
    /// There is no item to change.
    Nf,
    /// The answer to `mn`.
    Mn,
    /// The answer to `me`.
    Me,
}

/// A codec of a few lines, for where no other can be built.
#[derive(Debug, Clone, Copy)]
pub struct Plain;

impl Codec for Plain {
    fn get(request: &mut Vec<u8>, key: &str, flags: &[u8]) {
        request.extend_from_slice(b"mg ");
        request.extend_from_slice(key.as_bytes());
        for flag in flags {
            request.extend_from_slice(&[b' ', *flag]);
        }
        request.extend_from_slice(b"\r\n");
    }

    fn code(word: &[u8]) -> Option<Code> {
        Some(match word {
            b"HD" => Code::Hd,
            b"VA" => Code::Va,
            b"EN" => Code::En,
            b"NS" => Code::Ns,
            b"EX" => Code::Ex,
            b"NF" => Code::Nf,
            b"MN" => Code::Mn,
            b"ME" => Code::Me,
            _ => return None,
        })
    }
}
