//! Every link between the pages, and from them into the tree, leads to something.

use std::collections::BTreeSet;
use std::path::Path;

use kvlock_tests::tree::{page, workspace};

use crate::{pages, prose_lines};

/// Returns the targets of the links in a page.
fn links(text: &str) -> Vec<String> {
    let in_line = |line: &str| -> Vec<String> {
        let targets = line.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        targets.map(String::from).collect()
    };
    prose_lines(text).flat_map(|(_, line)| in_line(line)).collect()
}

/// Returns the anchors that a forge makes of the headings of a page.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose_lines(text).filter_map(|(_, line)| line.strip_prefix('#'));
    headings
        .map(|heading| {
            let heading = heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect()
        })
        .collect()
}

#[test]
fn every_link_leads_to_a_file_or_a_heading() {
    let mut broken = Vec::new();
    for name in pages() {
        let text = page(&name);
        for link in links(&text).into_iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').map_or((link.as_str(), None), |(path, at)| (path, Some(at)));
            let target = workspace().join(&name).parent().expect("a page has a folder").join(path);
            let target_text = if path.is_empty() { Some(text.clone()) } else { std::fs::read_to_string(&target).ok() };
            let has_anchor =
                anchor.is_none_or(|anchor| target_text.is_some_and(|text| anchors(&text).contains(anchor)));
            if !(path.is_empty() || target.exists()) || !has_anchor {
                broken.push(format!("{name}: {link}"));
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

#[test]
fn the_readme_leads_to_every_page() {
    let readme = page("README.md");
    let linked: BTreeSet<String> = links(&readme).into_iter().collect();
    for name in pages().iter().filter(|name| *name != "README.md" && !name.starts_with("docs/internals")) {
        assert!(linked.contains(name.as_str()), "the README does not lead to {name}");
    }
    assert!(linked.contains("docs/internals") && Path::new(&workspace()).join("docs/internals").is_dir());
}

#[test]
fn the_readme_is_short() {
    assert!(page("README.md").lines().count() <= 150);
}
