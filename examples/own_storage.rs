//! Noted pins in a database of one's own.

fn main() {}
