//! Versions of etcd, and what is wrong with some.

use super::super::Severity;

/// `major.minor.patch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Number([u64; 3]);

impl Number {
    fn parse(text: &str) -> Option<Number> {
        // A build may have more behind it: `3.6.0-rc.1`.
        let text = text.split(['-', '+']).next()?;
        let parts: Vec<u64> = text.split('.').map(str::parse).collect::<Result<_, _>>().ok()?;
        parts.try_into().ok().map(Number)
    }
}

/// Returns what is to be said about a member of this version, in a cluster of so many members.
pub(super) fn judge(text: &str, members: usize) -> (Severity, String) {
    let shown = text.escape_debug();
    let Some(version @ Number([major, minor, _])) = Number::parse(text) else {
        return (Severity::Warning, format!("etcd `{shown}`: which version that is cannot be told"));
    };
    let is_before = |old: [u64; 3], new: [u64; 3]| version < Number(if (major, minor) <= (3, 4) { old } else { new });
    if version < Number([3, 4, 0]) {
        return (Severity::Unfit, format!("etcd {shown} is too old: upgrade it to 3.5.13 or newer"));
    }
    if (Number([3, 5, 0])..Number([3, 5, 3])).contains(&version) {
        return (Severity::Unfit, format!("etcd {shown} can corrupt its contents: upgrade it to 3.5.13 or newer"));
    }
    if members == 1 && is_before([3, 4, 21], [3, 5, 5]) {
        let text = format!(
            "etcd {shown} with one member may lose a lock that it has granted if it crashes: upgrade it to 3.5.13 or newer"
        );
        return (Severity::Unfit, text);
    }
    if members > 1 && is_before([3, 4, 31], [3, 5, 13]) {
        let text = format!(
            "etcd {shown}: a leader that was deposed while its disk or processor stalled may end leases that are kept alive, \
             and so a lock that is held; tokens still tell; upgrade it to 3.4.31, 3.5.13 or newer"
        );
        return (Severity::Warning, text);
    }
    (Severity::Ok, format!("etcd {shown}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_version_depends_on_how_many_members_there_are() {
        for (version, alone, of_three) in [
            ("3.3.27", Severity::Unfit, Severity::Unfit),
            ("3.4.20", Severity::Unfit, Severity::Warning),
            ("3.4.23", Severity::Ok, Severity::Warning),
            ("3.4.31", Severity::Ok, Severity::Ok),
            ("3.5.1", Severity::Unfit, Severity::Unfit),
            ("3.5.4", Severity::Unfit, Severity::Warning),
            ("3.5.12", Severity::Ok, Severity::Warning),
            ("3.5.13", Severity::Ok, Severity::Ok),
            ("3.6.0-rc.1", Severity::Ok, Severity::Ok),
            ("4.0.0", Severity::Ok, Severity::Ok),
            ("mine", Severity::Warning, Severity::Warning),
        ] {
            assert_eq!(judge(version, 1).0, alone, "{version}");
            assert_eq!(judge(version, 3).0, of_three, "{version}");
        }
    }
}
