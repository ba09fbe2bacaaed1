//! Times a lookup.
fn main() {}
