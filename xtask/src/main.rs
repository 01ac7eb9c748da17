//! What a contributor of kvlock runs.
fn main() {}
