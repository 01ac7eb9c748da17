//! The `kvlock` command.
fn main() {}
