//! The pages keep to short sentences, which a reader does not stumble over.

use kvlock_tests::tree::page;

use crate::{pages, prose_lines};

/// How many words a sentence may have.
const MOST_WORDS: usize = 30;

/// Returns the paragraphs and list items of a page, each with the number of its first line.
fn paragraphs(text: &str) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    let mut last = 0;
    for (number, line) in prose_lines(text) {
        let line = line.trim();
        let is_item = line.starts_with("- ") || line.split_once(". ").is_some_and(|(n, _)| n.parse::<u8>().is_ok());
        if line.is_empty() || line.starts_with(['#', '|', '<']) {
            continue;
        }
        match found.last_mut() {
            Some((_, paragraph)) if number == last + 1 && !is_item => *paragraph = format!("{paragraph} {line}"),
            _ => found.push((number, line.to_string())),
        }
        last = number;
    }
    found
}

/// Returns the sentences of a paragraph. Code counts as one word.
fn sentences(paragraph: &str) -> Vec<String> {
    let parts = paragraph.split('`').enumerate();
    let plain: String = parts.map(|(n, part)| if n % 2 == 0 { part } else { "code" }).collect();
    let ends = |word: &str| word.trim_end_matches(['*', ')', '"']).ends_with(['.', '!', '?']);
    let words: Vec<&str> = plain.split_whitespace().collect();
    words.split_inclusive(|word| ends(word)).map(|sentence| sentence.join(" ")).collect()
}

fn words(sentence: &str) -> usize {
    sentence.split(' ').filter(|word| word.contains(char::is_alphanumeric)).count()
}

#[test]
fn no_sentence_is_too_long() {
    let mut long = Vec::new();
    for name in pages() {
        for (line, paragraph) in paragraphs(&page(&name)) {
            let sentences = sentences(&paragraph).into_iter().filter(|sentence| words(sentence) > MOST_WORDS);
            long.extend(sentences.map(|sentence| format!("{name}:{line}: {sentence}")));
        }
    }
    assert!(long.is_empty(), "over {MOST_WORDS} words:\n{}", long.join("\n"));
}

#[test]
fn the_judge_of_sentences_sees_a_long_one_and_no_code() {
    let long = "word ".repeat(MOST_WORDS);
    let text = format!(
        "# {long} heading\n\n{long}\nand `{long} code`.\n\n- {long}\n- Short. {long}.\n\n```\n{long} code\n```\n"
    );
    let counts: Vec<_> = paragraphs(&text).iter().map(|(line, it)| (*line, sentences(it).len())).collect();
    assert_eq!(counts, [(3, 1), (6, 1), (7, 2)]);
    let sentences = paragraphs(&text).into_iter().flat_map(|(_, it)| sentences(&it));
    assert_eq!(sentences.map(|it| words(&it)).collect::<Vec<_>>(), [MOST_WORDS + 2, MOST_WORDS, 1, MOST_WORDS]);
}
