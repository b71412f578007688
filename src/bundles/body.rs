//! The members of the JSON text of a bundle.

use rustls_pki_types::UnixTime;
use serde::de::{IgnoredAny, MapAccess};

use crate::pin_file::{
    File, List, MEMBER_NAMES, Members, Number, Object, Pin, PinFileProblem, Problems, Text, Word,
    Words, missing, parse_host, parse_time,
};
use crate::policy::{Host, SpkiFingerprint, StaticRules};

/// What a bundle means once it has expired. In each case the application observes it
/// ([`Event::BundleStale`](crate::Event::BundleStale)), the refused keys stay refused and fixed
/// policies stay enforced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenStale {
    /// The policies that the application contains apply to the hosts that they name. The policies of
    /// other hosts stay enforced. An attacker who can keep a client from receiving bundles then
    /// chooses the older pins.
    BuiltIn,
    /// Its pins stay enforced.
    #[default]
    Enforce,
    /// Its pins are report-only. An attacker who can keep a client from receiving bundles then turns
    /// them off.
    ReportOnly,
}

impl Words for WhenStale {
    const VALUES: &'static [Self] = &[Self::BuiltIn, Self::Enforce, Self::ReportOnly];
    const WORDS: &'static [&'static str] = &["built-in", "enforce", "report-only"];

    fn word(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Enforce => "enforce",
            Self::ReportOnly => "report-only",
        }
    }
}

/// The only value of `type`: a signature must not count for another kind of text.
#[derive(Clone, Copy)]
enum Type {
    Bundle,
}

impl Words for Type {
    const VALUES: &'static [Self] = &[Self::Bundle];
    const WORDS: &'static [&'static str] = &["pin-bundle"];

    fn word(self) -> &'static str {
        "pin-bundle"
    }
}

/// What is needed before the signatures can be verified.
pub(crate) struct Head {
    pub(crate) root_version: u64,
    /// The notes of the chain of roots.
    pub(crate) roots: Vec<String>,
}

#[derive(Default)]
pub(crate) struct HeadMembers {
    of_type: Option<Type>,
    root_version: Option<u64>,
    roots: Option<Vec<String>>,
}

impl Members for HeadMembers {
    type Value = Head;
    const KIND: &'static str = "bundle";
    const NAMES: &'static [&'static str] = &["root_version", "roots", "type"];

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut A,
        problems: &Problems,
    ) -> Result<(), A::Error> {
        match name {
            "root_version" => problems.read(&mut self.root_version, name, Number, map),
            "roots" => problems.read(&mut self.roots, name, texts(problems), map),
            _ => problems.read(&mut self.of_type, name, Word::new(name, problems), map),
        }
    }

    fn finish(self, _: &Problems) -> Result<Head, PinFileProblem> {
        self.of_type.ok_or_else(|| missing::<Self>("type"))?;
        let root_version = self.root_version;
        Ok(Head {
            root_version: root_version.ok_or_else(|| missing::<Self>("root_version"))?,
            roots: self.roots.unwrap_or_default(),
        })
    }
}

/// The members of a bundle, beside those of [`Head`].
pub(crate) struct Body {
    pub(crate) version: u64,
    pub(crate) issued: UnixTime,
    pub(crate) expires: UnixTime,
    pub(crate) when_stale: WhenStale,
    pub(crate) pins: StaticRules,
    pub(crate) refused_keys: Vec<SpkiFingerprint>,
    pub(crate) kill_switch: Option<UnixTime>,
    pub(crate) staging: Option<(u64, String)>,
    pub(crate) suspend_noted: Vec<Host>,
    pub(crate) intermediates: Vec<String>,
    pub(crate) critical: Vec<String>,
}

impl Body {
    /// Returns the first name among the critical ones that this version does not know.
    pub(crate) fn unknown_critical(&self) -> Option<&String> {
        let known = |name: &str| {
            let objects = [BodyMembers::NAMES, Stages::NAMES, KillSwitch::NAMES];
            let mut objects = objects.iter().chain(&MEMBER_NAMES);
            objects.any(|names| names.contains(&name))
        };
        self.critical.iter().find(|name| !known(name))
    }
}

#[derive(Default)]
pub(crate) struct BodyMembers {
    version: Option<u64>,
    issued: Option<UnixTime>,
    expires: Option<UnixTime>,
    when_stale: Option<WhenStale>,
    pins: Option<StaticRules>,
    refused_keys: Option<Vec<SpkiFingerprint>>,
    kill_switch: Option<UnixTime>,
    staging: Option<(u64, String)>,
    suspend_noted: Option<Vec<Host>>,
    intermediates: Option<Vec<String>>,
    critical: Option<Vec<String>>,
}

impl Members for BodyMembers {
    type Value = Body;
    const KIND: &'static str = "bundle";
    const NAMES: &'static [&'static str] = &[
        "critical",
        "expires",
        "intermediates",
        "issued",
        "kill_switch",
        "pins",
        "refused_keys",
        "root_version",
        "roots",
        "staging",
        "suspend_noted",
        "type",
        "version",
        "when_stale",
    ];

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut A,
        problems: &Problems,
    ) -> Result<(), A::Error> {
        match name {
            "version" => problems.read(&mut self.version, name, Number, map),
            "issued" => problems.read(&mut self.issued, name, Text(parse_time, problems), map),
            "expires" => problems.read(&mut self.expires, name, Text(parse_time, problems), map),
            "when_stale" => {
                problems.read(&mut self.when_stale, name, Word::new(name, problems), map)
            }
            "pins" => problems.read(&mut self.pins, name, Object::<File>::new(problems), map),
            "refused_keys" => {
                let pins = List(|| Pin(problems));
                problems.read(&mut self.refused_keys, name, pins, map)
            }
            "kill_switch" => {
                let until = Object::<KillSwitch>::new(problems);
                problems.read(&mut self.kill_switch, name, until, map)
            }
            "staging" => {
                let stages = Object::<Stages>::new(problems);
                problems.read(&mut self.staging, name, stages, map)
            }
            "suspend_noted" => {
                let hosts = List(|| Text(parse_host, problems));
                problems.read(&mut self.suspend_noted, name, hosts, map)
            }
            "intermediates" => problems.read(&mut self.intermediates, name, texts(problems), map),
            "critical" => problems.read(&mut self.critical, name, texts(problems), map),
            // Read before, as a `Head`.
            _ => map.next_value::<IgnoredAny>().map(drop),
        }
    }

    fn finish(self, _: &Problems) -> Result<Body, PinFileProblem> {
        Ok(Body {
            version: self.version.ok_or_else(|| missing::<Self>("version"))?,
            issued: self.issued.ok_or_else(|| missing::<Self>("issued"))?,
            expires: self.expires.ok_or_else(|| missing::<Self>("expires"))?,
            when_stale: self.when_stale.unwrap_or_default(),
            pins: self.pins.ok_or_else(|| missing::<Self>("pins"))?,
            refused_keys: self.refused_keys.unwrap_or_default(),
            kill_switch: self.kill_switch,
            staging: self.staging,
            suspend_noted: self.suspend_noted.unwrap_or_default(),
            intermediates: self.intermediates.unwrap_or_default(),
            critical: self.critical.unwrap_or_default(),
        })
    }
}

#[derive(Default)]
struct KillSwitch(Option<UnixTime>);

impl Members for KillSwitch {
    type Value = UnixTime;
    const KIND: &'static str = "kill switch";
    const NAMES: &'static [&'static str] = &["until"];

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut A,
        problems: &Problems,
    ) -> Result<(), A::Error> {
        problems.read(&mut self.0, name, Text(parse_time, problems), map)
    }

    fn finish(self, _: &Problems) -> Result<UnixTime, PinFileProblem> {
        self.0.ok_or_else(|| missing::<Self>("until"))
    }
}

#[derive(Default)]
struct Stages {
    percent: Option<u64>,
    salt: Option<String>,
}

impl Members for Stages {
    type Value = (u64, String);
    const KIND: &'static str = "staging";
    const NAMES: &'static [&'static str] = &["percent", "salt"];

    fn read<'de, A: MapAccess<'de>>(
        &mut self,
        name: &'static str,
        map: &mut A,
        problems: &Problems,
    ) -> Result<(), A::Error> {
        match name {
            "percent" => problems.read(&mut self.percent, name, Number, map),
            _ => {
                let text = Text(|text: &str| Ok(text.to_owned()), problems);
                problems.read(&mut self.salt, name, text, map)
            }
        }
    }

    fn finish(self, _: &Problems) -> Result<Self::Value, PinFileProblem> {
        let percent = self.percent.ok_or_else(|| missing::<Self>("percent"))?;
        let salt = self.salt.ok_or_else(|| missing::<Self>("salt"))?;
        Ok((percent, salt))
    }
}

type ParseText = fn(&str) -> Result<String, PinFileProblem>;

/// Reads a list of texts.
fn texts<'p>(problems: &'p Problems) -> List<impl FnMut() -> Text<'p, ParseText>> {
    List(|| {
        let parse: ParseText = |text| Ok(text.to_owned());
        Text(parse, problems)
    })
}
