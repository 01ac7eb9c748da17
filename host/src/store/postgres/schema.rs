//! The tables: made at first use if the role may, and by `kvlock migrate` otherwise.

use super::failure::Failure;
use super::link::{Link, field};
use super::sql::{self, OBJECTS, Sql};

/// Returns the SQL that makes the schema, for a person to read and run.
pub(super) fn text(grant_to: &[String]) -> String {
    let made = OBJECTS.iter().map(|object| format!("{};\n", object.make));
    let granted = grant_to.iter().flat_map(|role| sql::grants(role)).map(|grant| format!("{grant};\n"));
    format!("BEGIN;\n{}{}COMMIT;\n", made.collect::<String>(), granted.collect::<String>())
}

/// Makes what is missing, and gives these roles the right to use it.
pub(super) async fn make(link: &mut Link, sql: &Sql, grant_to: &[String]) -> Result<(), Failure> {
    let made = try_make(link, sql, grant_to).await;
    if made.is_err() && link.is_good() {
        link.run("ROLLBACK").await.map_err(Failure::before_a_write)?;
    }
    made.map_err(|failure| match failure.before_a_write() {
        Failure::NoRight(why) => Failure::Refused(format!(
            "the tables of kvlock are not there, and this role may not make them ({why}): let somebody who may run \
             `kvlock migrate ROLE`"
        )),
        other => other,
    })
}

async fn try_make(link: &mut Link, sql: &Sql, grant_to: &[String]) -> Result<(), Failure> {
    link.run(sql.begin()).await?;
    for object in &OBJECTS {
        // IF NOT EXISTS would ask for the right to make what is there.
        let rows = link.rows(&format!("SELECT {}", object.is_there), &[], 0).await?;
        let is_there = rows.first().map(|row| field::<bool>(row, 0)).transpose()?.unwrap_or(false);
        if !is_there {
            link.run(object.make).await?;
        }
    }
    for grant in grant_to.iter().flat_map(|role| sql::grants(role)) {
        link.run(&grant).await?;
    }
    link.run("COMMIT").await
}
