//! Tests of the judgement: each rule, healthy set-ups, incidents, and the compiled-in data.

mod healthy;
mod incidents;
mod judgement;
mod known_pins;
mod rules;
mod world;
