//! The readers and writers of pins in `pinhold-cli`, a program without a library.

#![allow(dead_code, reason = "the target uses a part of them")]

#[path = "../../crates/pinhold-cli/src/pins/abilities.rs"]
pub(crate) mod abilities;
#[path = "../../crates/pinhold-cli/src/pins/expiry.rs"]
pub(crate) mod expiry;
#[path = "../../crates/pinhold-cli/src/pins/formats/mod.rs"]
pub(crate) mod formats;
#[path = "../../crates/pinhold-cli/src/pins/loss.rs"]
pub(crate) mod loss;
#[path = "../../crates/pinhold-cli/src/pins/overlap.rs"]
pub(crate) mod overlap;
#[path = "../../crates/pinhold-cli/src/pins/reduce.rs"]
pub(crate) mod reduce;
#[path = "../../crates/pinhold-cli/src/pins/rules.rs"]
pub(crate) mod rules;
#[path = "../../crates/pinhold-cli/src/pins/source.rs"]
pub(crate) mod source;
#[path = "../../crates/pinhold-cli/src/pins/xml.rs"]
pub(crate) mod xml;
