//! What a server tells about itself in reply to `INFO`.

use kvlock_protocol::Failure;

use super::link::Link;
use super::reply::{Reply, foreign};

/// The lines `name:value` of all sections.
#[derive(Debug, Default)]
pub(super) struct Info(Vec<(String, String)>);

impl Info {
    pub(super) fn ask(link: &mut Link) -> Result<Info, Failure> {
        let mut all = Info::default();
        // The sections one by one: before Redis 7, a request takes one only.
        for section in ["server", "replication", "stats", "memory", "persistence", "clients"] {
            let reply = link.ask(&[b"INFO", section.as_bytes()])?;
            let text = reply.text().ok_or_else(|| foreign(format!("{reply:?}").as_bytes()))?;
            all.0.append(&mut Info::parse(text).0);
        }
        Ok(all)
    }

    pub(super) fn parse(text: &str) -> Info {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once(':'));
        Info(pairs.map(|(name, value)| (name.to_string(), value.trim().to_string())).collect())
    }

    /// Takes names and values that follow each other.
    pub(super) fn of_pairs(reply: &Reply) -> Info {
        let texts: Vec<_> = reply.items().iter().map(|item| item.text().unwrap_or_default().to_string()).collect();
        Info(texts.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }
}

/// A version as three numbers, whatever is appended.
pub(super) fn version(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split('.').map(|part| {
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        part[..digits].parse().ok()
    });
    Some([parts.next()??, parts.next()??, parts.next().flatten().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_titles_are_not() {
        let info = Info::parse("# Server\r\nredis_version:7.0.15\r\nos:a:b\r\n\r\n# Stats\r\nevicted_keys:7\r\n");
        assert_eq!((info.text("redis_version"), info.text("os")), (Some("7.0.15"), Some("a:b")));
        assert_eq!((info.number("evicted_keys"), info.number("os"), info.text("# Server")), (Some(7), None, None));
    }

    #[test]
    fn versions_are_read_with_whatever_is_appended() {
        for (text, numbers) in [("7.0.15", [7, 0, 15]), ("8.1", [8, 1, 0]), ("6.2.0-rc1", [6, 2, 0])] {
            assert_eq!(version(text), Some(numbers), "{text}");
        }
        assert!(version("").is_none() && version("redis").is_none());
    }
}
