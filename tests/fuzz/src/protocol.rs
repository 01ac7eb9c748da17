//! The protocol without a socket: hostile replies to each operation, and the two that write commands and read replies held
//! against each other.

use std::future::{Future, ready};
use std::time::Duration;

use kvlock_protocol::{
    Code, Codec, Failure, MetaReply, Plain, Request, Talk, Transport, Ttl, Version, WriteOutcome, check_key, finish,
};
use memcache::exp::{MetaCommand, MetaOp, MetaResponse, ReturnCode};

/// What a fit memcached says to a new connection: its epoch item and its `stats`.
const GREETING: &[u8] = b"VA 36 c7\r\nkvlock epoch 1 started=1000 uptime=5\r\n\
    STAT version 1.6.18\r\nSTAT time 1100\r\nSTAT uptime 100\r\nEND\r\n";
const VERSION: Version = Version { era: 1_000_000_000_007, number: 7 };

/// Says bytes as replies, and writes down what it was asked.
struct Said {
    bytes: Vec<u8>,
    at: usize,
    asked: Vec<u8>,
}

impl Said {
    fn new(parts: &[&[u8]]) -> Said {
        Said { bytes: parts.concat(), at: 0, asked: Vec::new() }
    }

    fn answer(&mut self, request: &Request) -> Result<&[u8], Failure> {
        self.asked.extend_from_slice(request.bytes());
        let unread = &self.bytes[self.at..];
        let at_once = request.frame().advance(unread);
        let mut frame = request.frame();
        let bit_by_bit = (0..=unread.len()).find_map(|length| frame.advance(&unread[..length]));
        // What cuts a line off that is too long may see more of it at once.
        assert!(at_once == bit_by_bit || unread.len() > 8 * 1024, "{at_once:?} or {bit_by_bit:?}");
        let length = at_once.ok_or_else(|| Failure::NoAnswer("that was all".into()))?;
        self.at += length;
        Ok(&unread[..length])
    }
}

impl Transport for Said {
    type Codec = Plain;

    fn exchange(&mut self, request: &Request) -> impl Future<Output = Result<&[u8], Failure>> + Send {
        ready(self.answer(request))
    }

    fn pause(&mut self, _: Duration) -> impl Future<Output = Result<(), Failure>> + Send {
        ready(Err(Failure::NotSent("it closed the connection".into())))
    }

    fn peer(&self) -> String {
        "peer".into()
    }

    fn now(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn age(&self) -> Duration {
        Duration::ZERO
    }

    fn random(&mut self) -> Result<u64, Failure> {
        Ok(4)
    }
}

/// Says the bytes in answer to each operation: nothing is written that nobody said was, and no value is made up.
pub(crate) fn protocol(data: &[u8]) {
    let _ = finish(Talk::begin(&mut Said::new(&[data])));
    let said = |word: &[u8]| word.is_empty() || data.windows(word.len()).any(|bytes| bytes == word);
    let begin = || {
        let mut said = Said::new(&[GREETING, data]);
        let talk = finish(Talk::begin(&mut said)).expect("a fit server");
        (talk, said)
    };
    let (mut talk, mut line) = begin();
    if let Ok(WriteOutcome::Written(_)) = finish(talk.add(&mut line, "k", b"v", Ttl::Forever, 1)) {
        assert!(said(b"STORED"), "written, though nobody said so");
    }
    let (mut talk, mut line) = begin();
    if let Ok(WriteOutcome::Written(_)) = finish(talk.replace(&mut line, "k", b"v", Ttl::Forever, VERSION, 1)) {
        assert!(said(b"STORED"), "written, though nobody said so");
    }
    let (mut talk, mut line) = begin();
    if let Ok(entries) = finish(talk.get(&mut line, &["a", "b"])) {
        assert_eq!(entries.len(), 2);
        assert!(entries.iter().flatten().all(|entry| said(&entry.value)), "a value that nobody sent");
    }
    let (mut talk, mut line) = begin();
    let _ = finish(talk.delete(&mut line, "k", VERSION));
    let (mut talk, mut line) = begin();
    let _ = finish(talk.era(&mut line));
    let (mut talk, mut line) = begin();
    let _ = finish(talk.likeness(&mut line, &mut Said::new(&[data])));
}

/// What we write, the crate `memcache` would write, and what we read, it reads alike.
pub(crate) fn codec(data: &[u8]) {
    let line = data.split(|byte| *byte == b'\n').next().unwrap_or_default();
    read_alike(line);
    // With a code in front, so that more than one in a thousand is a reply.
    for code in ["HD ", "VA 3 ", "VA ", "EN ", "NF ", "EX "] {
        read_alike(&[code.as_bytes(), line].concat());
    }
    let number = data.iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
    if let Ok(key) = std::str::from_utf8(line)
        && check_key(key).is_ok()
    {
        write_alike(key, number);
    }
}

fn write_alike(key: &str, number: u64) {
    let encoded = |commands: &[MetaCommand]| {
        let mut bytes = Vec::new();
        commands.iter().for_each(|command| command.encode_into(&mut bytes).expect("a legal key"));
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let command = |op, key: &str, flags: &[String]| {
        flags.iter().fold(MetaCommand::new(op, key), |command, flag| command.flag(flag.as_bytes()))
    };
    let get = |key: &str, flags: [&str; 3]| command(MetaOp::Get, key, &flags.map(String::from));
    let epoch = || command(MetaOp::Get, "kvlock:epoch", &["c".into()]);

    let mut plain = Vec::new();
    Plain::get(&mut plain, key, b"vct");
    assert_eq!(String::from_utf8_lossy(&plain), encoded(&[get(key, ["v", "c", "t"])]));

    let asked = |act: fn(&mut Talk, &mut Said, &str, u64)| {
        let mut line = Said::new(&[GREETING]);
        let mut talk = finish(Talk::begin(&mut line)).expect("a fit server");
        line.asked.clear();
        act(&mut talk, &mut line, key, number);
        String::from_utf8_lossy(&line.asked).into_owned()
    };
    let read = asked(|talk, line, key, _| _ = finish(talk.get(line, &[key])));
    assert_eq!(read, encoded(&[get(key, ["v", "c", "t"]), epoch()]));
    let deleted = asked(|talk, line, key, number| {
        _ = finish(talk.delete(line, key, Version { number, ..VERSION }));
    });
    assert_eq!(deleted, encoded(&[command(MetaOp::Delete, key, &[format!("C{number}")])]));
    // The classic command has no counterpart in the crate's meta layer; the reads behind it have.
    let added = asked(|talk, line, key, _| _ = finish(talk.add(line, key, b"value", Ttl::Forever, 1)));
    let reads = encoded(&[command(MetaOp::Get, key, &["c".into(), "f".into()]), epoch()]);
    assert_eq!(added, format!("add {key} 1 0 5\r\nvalue\r\n{reads}"));
}

fn read_alike(line: &[u8]) {
    // It takes a plus sign for a part of a number, and a refusal for a reply of another kind.
    if line.contains(&b'+') {
        return;
    }
    let ours = MetaReply::read::<Plain>(line);
    let theirs = MetaResponse::parse_header(line);
    let shown = line.escape_ascii();
    match (ours, theirs) {
        (Ok((ours, length)), Ok(theirs)) => {
            assert_eq!(ours.code, code(theirs.rc()), "{shown}");
            if ours.code == Code::Va {
                let word = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).nth(1);
                let theirs = word.and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
                assert_eq!(length, theirs, "{shown}");
            }
            for flag in *b"cft" {
                let token = theirs.flags().filter(|token| token.first() == Some(&flag)).last();
                let theirs = token.and_then(|token| std::str::from_utf8(&token[1..]).ok()?.parse::<u64>().ok());
                assert_eq!(ours.number(flag), theirs, "{shown}");
            }
        }
        (Err(Failure::Refused(_)), _) => {}
        (Err(_), Err(_)) => {}
        (ours, theirs) => panic!("{shown}: {ours:?} or {theirs:?}"),
    }
}

fn code(code: ReturnCode) -> Code {
    match code {
        ReturnCode::Hd => Code::Hd,
        ReturnCode::Va => Code::Va,
        ReturnCode::En => Code::En,
        ReturnCode::Ns => Code::Ns,
        ReturnCode::Ex => Code::Ex,
        ReturnCode::Nf => Code::Nf,
        ReturnCode::Mn => Code::Mn,
        ReturnCode::Me => Code::Me,
        _ => unreachable!("a code that this version of the crate does not have"),
    }
}
