//! The guide: one page for each task, from the choice of pins to an audit.
//!
//! Uses no other module, and has no code of its own. The code that it shows compiles as it stands.
//! Unless a page shows other dependencies, these suffice:
//!
//! ```sh
//! cargo add pinhold
//! ```
//!
//! Until 0.1.0 is on crates.io, add `--path` and the folder of the package in a clone of the
//! repository: the clone itself for `pinhold`, `crates/pinhold-testing` for `pinhold-testing`.
//!
//! Offers these pages:
//!
//! | page | question |
//! |---|---|
//! | [choosing pins](self::choosing_pins) | Which keys, and when is it better not to pin? |
//! | [a backup key](self::backup_key) | How is it made, kept and used? |
//! | [pins that change without a release](self::bundles) | How does an application take signed pins, and recover from a rotation without an announcement? |
//! | [a root of trust for pins](self::pin_root) | Who holds which key, and what if one is lost or stolen? |
//! | [pins in a file](self::pin_file) | How are pins kept as data, for all platforms, and replaced in a running client? |
//! | [rolling out pins](self::rolling_out) | How are they enforced without locking users out? |
//! | [health of pins](self::health) | How is a lock-out known before it happens? |
//! | [rotating keys and pins](self::rotating) | How does a key change while clients are installed? |
//! | [pins that a server announces](self::noting) | How are they received, checked and kept? |
//! | [user-added roots and inspection](self::user_added_roots) | What happens behind a company's proxy, and how is traffic inspected in development? |
//! | [stacks and their limits](self::stacks) | Which HTTP clients are supported, and what are their limits? |
//! | [reqwest 0.13](self::reqwest) | What is guaranteed with reqwest 0.13? |
//! | [Android and iOS](self::mobile) | What differs on a mobile device? |
//! | [a desktop application](self::desktop) | How does it use one pinned client, for example with Tauri? |
//! | [cold start and comparison](self::performance) | What do pins and each crypto provider cost? |
//! | [testing an application](self::testing) | How is it proved that an application refuses? |
//! | [moving from other tools](self::moving) | What corresponds to a setting of OkHttp, TrustKit, Android or curl? |
//! | [predicted lock-outs](self::doctor) | Which pinned host will stop working, when, and why? |
//! | [the command line](self::command_line) | What can the program `pinhold` do? |
//! | [for auditors](self::auditing) | Which setting and which test answer an item of MASVS or MASTG? |

// A page is always documented. Its code is run as a test where the features that it needs are
// enabled, and `tests/documents` compiles all of it in crates of its own.
// In the repository, a page's links lead to files. `links.txt` has the same links with items as
// targets. It is included before the page, and the first definition of a link is the valid one.

#[doc = include_str!("links.txt")]
#[doc = include_str!("auditing.md")]
pub mod auditing {}

#[doc = include_str!("links.txt")]
#[doc = include_str!("backup_key.md")]
pub mod backup_key {}

#[doc = include_str!("links.txt")]
#[cfg_attr(
    any(
        not(doctest),
        all(feature = "bundles", feature = "hyper", feature = "webpki-roots")
    ),
    doc = include_str!("bundles.md")
)]
pub mod bundles {}

#[doc = include_str!("links.txt")]
#[doc = include_str!("choosing_pins.md")]
pub mod choosing_pins {}

#[doc = include_str!("links.txt")]
#[doc = include_str!("command_line.md")]
pub mod command_line {}

#[doc = include_str!("links.txt")]
#[cfg_attr(
    any(not(doctest), all(feature = "reqwest", feature = "webpki-roots")),
    doc = include_str!("desktop.md")
)]
pub mod desktop {}

#[doc = include_str!("links.txt")]
#[doc = include_str!("doctor.md")]
pub mod doctor {}

#[doc = include_str!("links.txt")]
#[cfg_attr(any(not(doctest), feature = "health"), doc = include_str!("health.md"))]
pub mod health {}

#[doc = include_str!("links.txt")]
#[cfg_attr(
    any(not(doctest), all(feature = "hyper", feature = "webpki-roots")),
    doc = include_str!("mobile.md")
)]
pub mod mobile {}

#[doc = include_str!("links.txt")]
#[doc = include_str!("moving.md")]
pub mod moving {}

#[doc = include_str!("links.txt")]
#[cfg_attr(
    any(not(doctest), all(feature = "hyper", feature = "webpki-roots")),
    doc = include_str!("noting.md")
)]
pub mod noting {}

// The figure is a part of the page: rustdoc copies no files.
#[doc = include_str!("links.txt")]
#[doc = include_str!("performance.md")]
#[doc = include_str!("comparison.svg")]
pub mod performance {}

#[doc = include_str!("links.txt")]
#[cfg_attr(any(not(doctest), feature = "pin-file"), doc = include_str!("pin_file.md"))]
pub mod pin_file {}

#[doc = include_str!("links.txt")]
#[doc = include_str!("pin_root.md")]
pub mod pin_root {}

#[doc = include_str!("links.txt")]
#[cfg_attr(
    any(not(doctest), all(feature = "reqwest", feature = "webpki-roots")),
    doc = include_str!("reqwest.md")
)]
pub mod reqwest {}

#[doc = include_str!("links.txt")]
#[doc = include_str!("rolling_out.md")]
pub mod rolling_out {}

#[doc = include_str!("links.txt")]
#[cfg_attr(
    any(not(doctest), feature = "hyper"),
    doc = include_str!("rotating.md")
)]
pub mod rotating {}

#[doc = include_str!("links.txt")]
#[cfg_attr(
    any(not(doctest), feature = "webpki-roots"),
    doc = include_str!("stacks.md")
)]
pub mod stacks {}

// Its code needs another package, which depends on this one.
#[doc = include_str!("links.txt")]
#[cfg_attr(not(doctest), doc = include_str!("testing.md"))]
pub mod testing {}

#[doc = include_str!("links.txt")]
#[cfg_attr(
    any(not(doctest), all(feature = "native-certs", feature = "webpki-roots")),
    doc = include_str!("user_added_roots.md")
)]
pub mod user_added_roots {}
