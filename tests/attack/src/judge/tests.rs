//! Hand-made histories: what is right is found right, and each promise broken is found broken.

use super::*;

const ALL: Promise = Promise { exclusion: true, room: true, permits: 2 };

/// Writes a history. Times are whole milliseconds.
#[derive(Default)]
struct Story {
    events: Vec<Event>,
    calls: u64,
}

impl Story {
    fn at(&mut self, millis: u64, who: &str, what: What) {
        self.events.push(Event { at: millis * 1_000_000, who: who.into(), what });
    }

    fn call(&mut self, who: &str, (from, to): (u64, u64), op: Op, answer: Answer) {
        self.calls += 1;
        let call = self.calls;
        self.at(from, who, What::Invoke { call, op });
        self.at(to, who, What::Answer { call, answer });
    }

    fn acquire(&mut self, who: &str, when: (u64, u64), key: &str, token: u64, adopt: bool) {
        let owner = who.split('.').next().unwrap().into();
        let op = Op::Acquire { key: key.into(), owner, lease: 1000, wait: 500, adopt };
        self.call(who, when, op, Answer::Granted { hold: token, key: key.into(), token, fresh: true });
    }

    fn grant(&mut self, who: &str, when: (u64, u64), token: u64) {
        self.acquire(who, when, "k", token, false);
    }

    fn inside(&mut self, who: &str, hold: u64, from: u64, until: u64) {
        self.at(from, who, What::Inside { hold, until: until * 1_000_000 });
    }

    fn outside(&mut self, who: &str, hold: u64, at: u64) {
        self.at(at, who, What::Outside { hold });
    }

    fn verdict(mut self, promise: Promise) -> Vec<&'static str> {
        self.events.sort_by_key(|event| event.at);
        judge(&self.events, promise).into_iter().map(|violation| violation.promise).collect()
    }
}

fn lost() -> Answer {
    Answer::Failed { kind: Kind::Lost, text: String::new() }
}

#[test]
fn holders_one_after_the_other_are_right() {
    let mut story = Story::default();
    story.grant("a.0", (0, 10), 1);
    story.inside("a.0", 1, 11, 1000);
    story.call("a.0", (500, 510), Op::Renew { hold: 1 }, Answer::Done);
    story.inside("a.0", 1, 511, 1500);
    story.outside("a.0", 1, 600);
    story.call("a.0", (601, 610), Op::Release { hold: 1 }, Answer::Done);
    story.grant("b.0", (300, 605), 2);
    story.inside("b.0", 2, 606, 1600);
    story.outside("b.0", 2, 1700);
    assert_eq!(story.verdict(ALL), [""; 0]);
}

#[test]
fn two_valid_holders_are_found_and_excused_where_the_server_evicts() {
    let story = || {
        let mut story = Story::default();
        story.grant("a.0", (0, 10), 1);
        story.inside("a.0", 1, 11, 1000);
        story.grant("b.0", (700, 710), 2);
        story.inside("b.0", 2, 711, 1700);
        story
    };
    assert_eq!(story().verdict(ALL), ["no two valid holders"]);
    assert_eq!(story().verdict(Promise { exclusion: false, ..ALL }), [""; 0]);
}

#[test]
fn a_holder_whose_validity_has_ended_or_that_learnt_of_the_loss_is_none() {
    let mut story = Story::default();
    story.grant("a.0", (0, 10), 1);
    story.inside("a.0", 1, 11, 700);
    story.grant("b.0", (600, 710), 2);
    story.inside("b.0", 2, 711, 2000);
    story.call("b.0", (800, 810), Op::Renew { hold: 2 }, lost());
    story.grant("c.0", (820, 830), 3);
    story.inside("c.0", 3, 831, 2000);
    assert_eq!(story.verdict(ALL), [""; 0]);
}

#[test]
fn a_holder_between_two_claims_of_another_is_right_and_within_one_is_not() {
    for (since, verdict) in [(1100, vec![]), (900, vec!["no two valid holders"])] {
        let mut story = Story::default();
        story.grant("a.0", (0, 10), 1);
        story.inside("a.0", 1, 11, 1000);
        story.grant("b.0", (800, since - 1), 2);
        story.inside("b.0", 2, since, 1200);
        assert_eq!(story.verdict(ALL), verdict);
    }
}

#[test]
fn what_was_broken_by_force_or_adopted_is_held_until_then() {
    let mut story = Story::default();
    story.grant("a.0", (0, 10), 1);
    story.inside("a.0", 1, 11, 1000);
    story.call("x.0", (300, 310), Op::Break { key: "k".into() }, Answer::Done);
    story.grant("b.0", (320, 330), 2);
    story.inside("b.0", 2, 331, 1300);
    story.acquire("b.1", (400, 410), "k", 3, true);
    story.inside("b.1", 3, 411, 1400);
    assert_eq!(story.verdict(ALL), [""; 0]);
}

#[test]
fn force_excuses_nothing_before_it_nothing_after_it_and_no_other_name() {
    let story = |broken: u64, adopter: &str| {
        let mut story = Story::default();
        story.grant("a.0", (100, 110), 1);
        story.inside("a.0", 1, 111, 1000);
        story.call("x.0", (broken, broken + 5), Op::Break { key: "k".into() }, Answer::Done);
        story.acquire(adopter, (300, 310), "k", 2, true);
        story.inside(adopter, 2, 311, 1300);
        story.verdict(ALL)
    };
    assert_eq!(story(10, "b.0"), ["no two valid holders"]);
    assert_eq!(story(500, "b.0"), ["no two valid holders"]);
    assert_eq!(story(10, "a.1"), [""; 0]);
}

#[test]
fn a_renewal_that_succeeded_after_somebody_elses_grant_is_found_even_where_the_server_evicts() {
    for answer in [Answer::Done, lost()] {
        let mut story = Story::default();
        story.grant("a.0", (0, 10), 1);
        story.grant("b.0", (20, 30), 2);
        story.call("a.0", (40, 50), Op::Renew { hold: 1 }, answer.clone());
        let wrong = answer == Answer::Done;
        let verdict = story.verdict(Promise { exclusion: false, ..ALL });
        assert_eq!(verdict, if wrong { vec!["no success that was none"] } else { vec![] });
    }
}

#[test]
fn a_renewal_does_not_speak_for_what_may_have_been_before_the_grant_or_after_the_request() {
    let mut story = Story::default();
    story.grant("b.0", (0, 30), 1);
    story.grant("a.0", (5, 25), 2);
    story.grant("c.0", (35, 60), 3);
    story.call("a.0", (40, 70), Op::Renew { hold: 2 }, Answer::Done);
    assert_eq!(story.verdict(ALL), [""; 0]);
}

#[test]
fn a_release_that_succeeded_after_somebody_elses_grant_is_found_unless_force_was_used() {
    for broken in [false, true] {
        let mut story = Story::default();
        story.grant("a.0", (0, 10), 1);
        if broken {
            story.call("x.0", (12, 15), Op::Break { key: "k".into() }, Answer::Done);
        }
        story.grant("b.0", (20, 30), 2);
        story.call("a.0", (40, 50), Op::Release { hold: 1 }, Answer::Done);
        assert_eq!(story.verdict(ALL), if broken { vec![] } else { vec!["no success that was none"] });
    }
}

#[test]
fn a_token_that_does_not_grow_is_found() {
    for (token, verdict) in
        [(6, vec![]), (5, vec!["tokens only grow", "tokens only grow"]), (4, vec!["tokens only grow"])]
    {
        let mut story = Story::default();
        story.grant("a.0", (0, 10), 5);
        story.grant("b.0", (20, 30), token);
        assert_eq!(story.verdict(ALL), verdict, "{token}");
    }
}

#[test]
fn tokens_of_grants_that_were_asked_for_at_the_same_time_may_come_in_any_order() {
    let mut story = Story::default();
    story.grant("a.0", (0, 25), 5);
    story.grant("b.0", (20, 30), 4);
    assert_eq!(story.verdict(ALL), [""; 0]);
}

#[test]
fn a_grant_that_goes_from_hand_to_hand_is_one() {
    let mut story = Story::default();
    story.grant("a.0", (0, 10), 1);
    story.inside("a.0", 1, 11, 1000);
    story.outside("a.0", 1, 20);
    story.call("b.0", (30, 31), Op::Resume, Answer::Granted { hold: 7, key: "k".into(), token: 1, fresh: false });
    story.call("b.0", (40, 45), Op::Renew { hold: 7 }, Answer::Done);
    story.inside("b.0", 7, 46, 1040);
    assert_eq!(judge(&story.events, ALL), []);
    story.grant("c.0", (50, 60), 2);
    story.inside("c.0", 2, 61, 1000);
    assert_eq!(story.verdict(ALL), ["no two valid holders"]);
}

#[test]
fn a_permit_beyond_the_size_is_found() {
    for (permit, verdict) in [(1, vec![]), (2, vec!["a semaphore is never above its size"])] {
        let mut story = Story::default();
        story.acquire("a.0", (0, 10), &format!("p#{permit}"), 1, false);
        assert_eq!(story.verdict(ALL), verdict);
    }
}

#[test]
fn a_wait_that_ends_too_soon_or_too_late_is_found_and_a_stopped_process_is_excused() {
    let story = |took: u64, stopped: bool| {
        let mut story = Story::default();
        let op = Op::Acquire { key: "k".into(), owner: "a".into(), lease: 1000, wait: 500, adopt: false };
        story.call("a.0", (0, took), op, Answer::Failed { kind: Kind::Busy, text: String::new() });
        if stopped {
            story.at(100, "adversary", What::Stopped("a.0".into()));
            story.at(12_000, "adversary", What::Continued("a.0".into()));
        }
        story.verdict(ALL)
    };
    assert_eq!(story(501, false), [""; 0]);
    assert_eq!(story(499, false), ["a wait ends when it should"]);
    assert_eq!(story(10_501, false), ["a wait ends when it should"]);
    assert_eq!(story(20_000, true), [""; 0]);
}

#[test]
fn a_stuck_client_is_found() {
    let mut story = Story::default();
    story.at(1, "a.0", What::Stuck { key: "k".into(), why: "busy".into() });
    assert_eq!(story.verdict(ALL), ["whoever waits gets through when nothing goes wrong any more"]);
}

#[test]
fn errors_that_must_not_be_are_found() {
    for (kind, room, wrong) in [
        (Kind::Bug, false, true),
        (Kind::Rejected, true, true),
        (Kind::Rejected, false, false),
        (Kind::UnknownOutcome, true, false),
    ] {
        let mut story = Story::default();
        story.call("a.0", (0, 1), Op::Renew { hold: 1 }, Answer::Failed { kind, text: String::new() });
        let verdict = story.verdict(Promise { room, ..ALL });
        assert_eq!(verdict.len(), usize::from(wrong), "{kind:?}, {verdict:?}");
    }
}
