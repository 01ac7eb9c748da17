//! Every target with its corpus and with so many inputs made up from a fixed seed: the same ones each time.

use std::fs;
use std::path::{Path, PathBuf};

use kvlock_fuzz::{Target, target};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

/// Longer ones find nothing that these do not, and take their time.
const LONGEST: usize = 600;

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target.name);
    let mut files: Vec<PathBuf> =
        fs::read_dir(&folder).into_iter().flatten().flatten().map(|file| file.path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a file of the corpus can be read")).collect()
}

/// Bytes of no meaning, or one of the corpus with some bytes put in the place of others.
fn inputs(corpus: Vec<Vec<u8>>) -> BoxedStrategy<Vec<u8>> {
    let noise = vec(any::<u8>(), 0..LONGEST).boxed();
    if corpus.is_empty() {
        return noise;
    }
    let edit = (any::<prop::sample::Index>(), 0_usize..9, vec(any::<u8>(), 0..9));
    let edited = (prop::sample::select(corpus), vec(edit, 0..6)).prop_map(|(mut bytes, edits)| {
        for (at, length, new) in edits {
            let at = at.index(bytes.len() + 1);
            bytes.splice(at..(at + length).min(bytes.len()), new);
        }
        bytes
    });
    prop_oneof![1 => noise, 3 => edited].boxed()
}

fn check(name: &str) {
    let target = target(name).expect("a target");
    let corpus = corpus(target);
    corpus.iter().for_each(|bytes| (target.run)(bytes));
    let config = Config { cases: target.cases, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let outcome = runner.run(&inputs(corpus), |bytes| {
        (target.run)(&bytes);
        Ok(())
    });
    match outcome {
        Ok(()) => {}
        Err(TestError::Fail(reason, bytes)) => panic!("{reason}, by b\"{}\"", bytes.escape_ascii()),
        Err(TestError::Abort(reason)) => panic!("{reason}"),
    }
}

#[test]
fn a_value_in_the_store_is_a_record_that_reads_back_or_is_shown_harmlessly() {
    check("record");
}

#[test]
fn a_written_grant_is_refused_or_taken_up_unconfirmed() {
    check("grant");
}

#[test]
fn every_name_is_refused_or_leads_to_a_legal_store_key() {
    check("names");
}

#[test]
fn a_lying_store_makes_no_machine_panic_or_spin_and_gives_no_grant_that_it_did_not_give() {
    check("machines");
}

#[test]
fn a_lying_store_costs_the_component_its_session_at_worst_and_the_host_goes_on() {
    check("component");
}

#[test]
fn a_hostile_peer_makes_no_panic_and_no_call_that_does_not_return() {
    check("memcached");
}

#[test]
fn hostile_replies_make_no_operation_of_the_protocol_panic_or_believe_what_was_not_said() {
    check("protocol");
}

#[test]
fn commands_are_written_and_replies_read_as_the_crate_of_the_host_does_it() {
    check("codec");
}

#[test]
fn a_hostile_peer_of_redis_makes_no_panic_and_no_call_that_does_not_return() {
    check("redis");
}

#[test]
fn a_hostile_peer_of_etcd_makes_no_panic_and_no_call_that_does_not_return() {
    check("etcd");
}

#[test]
fn a_hostile_peer_of_postgresql_makes_no_panic_and_no_call_that_does_not_return() {
    check("postgres");
}

#[test]
fn a_hostile_file_is_refused_or_worked_with() {
    check("local");
}

#[test]
fn every_url_is_taken_or_refused_in_one_line() {
    check("urls");
}
