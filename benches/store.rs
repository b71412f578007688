//! What noted pins cost.

fn main() {}
