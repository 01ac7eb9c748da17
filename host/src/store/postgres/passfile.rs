//! The file of passwords that libpq reads: `host:port:database:user:password`, with `*` for any and `\` before `:`.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use kvlock_protocol::Secret;

/// Looks for a password; a file that is not there has none. The error is why a file was not read.
pub(super) fn find(file: &Path, host: &str, port: u16, database: &str, user: &str) -> Result<Option<Secret>, String> {
    let shown = file.display();
    let data = match std::fs::metadata(file) {
        Ok(data) => data,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("the file of passwords `{shown}` cannot be read: {error}")),
    };
    if !data.is_file() {
        return Err(format!("the file of passwords `{shown}` is no plain file"));
    }
    // As libpq: a secret that others may read is none.
    if data.permissions().mode() & 0o077 != 0 {
        return Err(format!("others may read the file of passwords `{shown}`, so it is not used: chmod 600 {shown}"));
    }
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("the file of passwords `{shown}` cannot be read: {error}"))?;
    Ok(in_text(&text, [host, &port.to_string(), database, user]))
}

/// Returns the password of the first line that fits.
fn in_text(text: &str, wanted: [&str; 4]) -> Option<Secret> {
    text.lines().filter(|line| !line.starts_with('#')).find_map(|line| {
        let fields = fields(line)?;
        let fits = fields.iter().zip(wanted).all(|(field, wanted)| field == "*" || unescaped(field) == wanted);
        fits.then(|| Secret::new(unescaped(&fields[4])))
    })
}

/// Splits at the first four colons that have no backslash before them.
fn fields(line: &str) -> Option<[String; 5]> {
    let mut fields = [const { String::new() }; 5];
    let mut at = 0;
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' if at < 4 => at += 1,
            '\\' => {
                fields[at].push(character);
                fields[at].extend(characters.next());
            }
            _ => fields[at].push(character),
        }
    }
    (at == 4).then_some(fields)
}

fn unescaped(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    let mut characters = field.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.extend(characters.next()),
            _ => text.push(character),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# a comment\nbroken\ndb:5432:*:app:first\n*:*:locks:ap\\:p:se\\:c\\\\ret:x\n*:*:*:*:last\n";

    #[test]
    fn the_first_line_that_fits_has_the_password() {
        for (wanted, password) in [
            (["db", "5432", "any", "app"], "first"),
            (["db", "5433", "locks", "ap:p"], "se:c\\ret:x"),
            (["db", "5433", "locks", "app"], "last"),
        ] {
            assert_eq!(in_text(FILE, wanted).unwrap().reveal(), password, "{wanted:?}");
        }
        assert_eq!(in_text("db:5432:*:app:first", ["other", "5432", "any", "app"]), None);
    }

    #[test]
    fn a_file_that_others_may_read_is_not_used_and_the_note_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pass");
        let find = || find(&file, "db", 5432, "any", "app");
        assert_eq!(find(), Ok(None));
        std::fs::write(&file, FILE).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let note = find().unwrap_err();
        assert!(note.contains("chmod 600") && !note.contains("first"), "{note}");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(find().unwrap().unwrap().reveal(), "first");
    }
}
