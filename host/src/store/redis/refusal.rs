//! What the error replies of a server mean.

use kvlock_protocol::Failure;

use super::bucket::Mode;
use crate::text::shown;

/// Not executed, and may be later: the server starts, is busy, is a replica, or lacks one.
const LATER: [&str; 7] =
    ["LOADING", "BUSY", "MASTERDOWN", "READONLY", "NOREPLICAS", "NOSCRIPT", "ERR max number of clients"];

/// What only a node of a cluster answers.
const OF_A_CLUSTER: [&str; 4] = ["MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"];

/// What to do about an error, by what it begins with.
const ADVICE: [(&str, &str); 11] = [
    ("OOM", "give it more memory (maxmemory), or locks a server of their own"),
    ("MISCONF", "it refuses writes because it cannot save: look into its log"),
    ("NOPERM", "the user's rights are too few: see the ACL on the page of stores"),
    ("NOAUTH", "it wants a login: give redis://user:password@host or redis://:password@host"),
    ("WRONGPASS", "check the user and the password in the store's URL"),
    ("ERR invalid password", "check the password in the store's URL"),
    ("WRONGTYPE", "delete that key, or use another database"),
    ("DENIED", "it is in protected mode: set a password, or bind it to an address"),
    ("ERR DB index", "it has fewer databases: check the number in the store's URL"),
    ("ERR This instance has cluster support disabled", NO_NODE),
    ("ERR unknown command", "kvlock needs a Redis 6.2 or newer, or a Valkey, that runs scripts"),
];

/// What to do about a node of a cluster where a server of its own was named.
pub(super) const A_NODE: &str = "it is a node of a cluster: write redis+cluster://host:port[,host:port…]";

/// What to do about a server of its own where a node of a cluster was named.
pub(super) const NO_NODE: &str = "it is no node of a cluster: write redis://host:port";

/// Returns what an error reply means, where nothing else has been executed.
pub(super) fn failure(text: &str, mode: Mode) -> Failure {
    let text = plain(text);
    let is = |code: &&str| text.strip_prefix(code).is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric()));
    let shown = shown(&text);
    if LATER.iter().any(is) {
        return Failure::NotSent(format!("it answers `{shown}`"));
    }
    if OF_A_CLUSTER.iter().any(is) {
        return match mode {
            // Another node has the slot, or will in a moment.
            Mode::Cluster => Failure::NotSent(format!("it answers `{shown}`")),
            Mode::Standalone => Failure::Refused(format!("it answers `{shown}`: {A_NODE}")),
        };
    }
    match ADVICE.iter().find(|(code, _)| is(code)) {
        Some((_, advice)) => Failure::Refused(format!("it answers `{shown}`: {advice}")),
        None => Failure::Refused(format!("it answers `{shown}`")),
    }
}

/// Whether a server does not have the script.
pub(super) fn is_no_script(text: &str) -> bool {
    text.starts_with("NOSCRIPT")
}

/// An error without what tells in which line of a script it came up. Before Redis 7, that stands in front.
fn plain(text: &str) -> String {
    let text = text.split(" script: ").next().unwrap_or(text);
    let inner = match text.strip_prefix("ERR Error running script") {
        Some(rest) => rest.rsplit_once(": -").map_or(text, |(_, error)| error),
        None => text,
    };
    // The rights of a user inside a script have no code of their own in Redis 7.
    if inner.contains("can't run this command") && !inner.starts_with("NOPERM") {
        return format!("NOPERM {}", inner.trim_start_matches("ERR "));
    }
    inner.trim_end_matches(['.', ' ']).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let Failure::Refused(why) = failure(text, Mode::Standalone) else { panic!("`{text}` is no refusal") };
        why
    }

    #[test]
    fn what_may_be_done_later_is_no_refusal() {
        for text in [
            "LOADING Redis is loading the dataset in memory",
            "READONLY You can't write against a read only replica. script: 1f, on @user_script:3.",
            "ERR Error running script (call to f_1f): @user_script:30: @user_script: 30: -READONLY You can't write against a read only replica.",
            "NOREPLICAS Not enough good replicas to write.",
            "ERR max number of clients reached",
        ] {
            assert!(matches!(failure(text, Mode::Standalone), Failure::NotSent(_)), "{text}");
        }
    }

    #[test]
    fn a_refusal_says_what_to_do_whichever_version_says_it() {
        for text in [
            "OOM command not allowed when used memory > 'maxmemory'. script: 1f, on @user_script:41.",
            "ERR Error running script (call to f_1f): @user_script:41: @user_script: 41: -OOM command not allowed when used memory > 'maxmemory'.",
        ] {
            assert_eq!(
                refused(text),
                "it answers `OOM command not allowed when used memory > 'maxmemory'`: give it more memory \
                 (maxmemory), or locks a server of their own"
            );
        }
        for text in [
            "ERR The user executing the script can't run this command or subcommand script: 1f, on @user_script:7.",
            "ERR Error running script (call to f_1f): @user_script:7: @user_script: 7: -NOPERM The user executing the script can't run this command or subcommand",
            "NOPERM this user has no permissions to run the 'evalsha' command or its subcommand",
        ] {
            assert!(refused(text).contains("rights are too few"), "{text}");
        }
        for text in ["MOVED 3999 127.0.0.1:6381", "CLUSTERDOWN Hash slot not served"] {
            assert!(refused(text).contains("redis+cluster://"), "{text}");
            assert!(matches!(failure(text, Mode::Cluster), Failure::NotSent(_)), "{text}");
        }
        assert!(!refused("ERR something else").contains(": "));
        assert!(!matches!(failure("ASKING", Mode::Cluster), Failure::NotSent(_)), "a code is a whole word");
    }
}
