//! `pinhold pins`: conversions and comparisons of pins in the formats of other systems.

mod android;
mod diff;
pub mod kit;
mod lines;
mod losses;
mod okhttp;
mod peers;
mod reading;
mod texts;
mod traps;
mod usage;
mod zones;
