//! Pieces of messages for people.

use std::time::Duration;

pub(crate) use kvlock_protocol::shown;

/// Returns a duration to tenths of a second, as people read it.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// Returns `1 permit`, `2 permits`.
pub(crate) fn permits(count: u32) -> String {
    if count == 1 { "1 permit".to_string() } else { format!("{count} permits") }
}

/// Returns a URL as messages show it: without what stands before an `@`, and without the value of a parameter that is
/// named like a password. What was given need not be a URL of ours.
pub(crate) fn without_secrets(url: &str) -> String {
    if url.starts_with("local:") {
        return url.to_string();
    }
    let scheme = url.find("://").map_or(0, |scheme| scheme + 3);
    let shown = match url[scheme..].rfind('@') {
        Some(at) => format!("{}…{}", &url[..scheme], &url[scheme + at..]),
        None => url.to_string(),
    };
    let Some((place, parameters)) = shown.split_once('?') else {
        // Words such as `host=a password=b`, whose values may have spaces.
        let word = shown.split(' ').find(|word| is_password(word));
        let end = word.and_then(|word| shown.find(word).map(|start| start + word.find('=').unwrap_or_default()));
        return end.map_or(shown.clone(), |end| format!("{}=…", &shown[..end]));
    };
    let hide = |parameter: &str| match parameter.split_once('=') {
        Some((name, _)) if is_password(parameter) => format!("{name}=…"),
        _ => parameter.to_string(),
    };
    format!("{place}?{}", parameters.split('&').map(hide).collect::<Vec<_>>().join("&"))
}

/// Returns true for `name=value` if the name tells that the value is a password.
fn is_password(parameter: &str) -> bool {
    parameter.split_once('=').is_some_and(|(name, _)| name.to_lowercase().contains("pass"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        for (url, shown) in [
            ("redis://host/0?timeout=1s", "redis://host/0?timeout=1s"),
            ("redis://:secret@host/0", "redis://…@host/0"),
            ("redis://me:se/cr?et@host/0?pass=x", "redis://…@host/0?pass=…"),
            ("redis+unix:///run/a.sock?db=1&password=secret", "redis+unix:///run/a.sock?db=1&password=…"),
            ("me:secret@host:6379", "…@host:6379"),
            ("redis:me:secret@host", "…@host"),
            ("host=a password='my secret' port=1", "host=a password=…"),
            ("local:/home/me@here/locks.db", "local:/home/me@here/locks.db"),
        ] {
            assert_eq!(without_secrets(url), shown);
        }
    }
}
