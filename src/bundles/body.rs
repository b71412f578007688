//! The members of the JSON text of a bundle.

use rustls_pki_types::UnixTime;

#[cfg(feature = "ct")]
use crate::ct::{LogList, LogListError};
use crate::pin_file::{
    COMMENT, Fault, Kind, MEMBER_NAMES, Names, Node, PinFileError, Words, file, hosts, pins, read,
    time,
};
use crate::policy::timestamp::at;
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

impl Head {
    pub(crate) fn of(text: &str) -> Result<Self, PinFileError> {
        read(text, Names::Known(&[HEAD.members]), head)
    }
}

fn head(node: Node<'_>) -> Result<Head, Box<Fault>> {
    let mut members = node.object(&HEAD)?;
    let (mut of_type, mut root_version, mut roots) = (None, None, Vec::new());
    while let Some((name, node)) = members.next()? {
        match name {
            "root_version" => root_version = Some(node.whole_number()?),
            "roots" => roots = node.owned_texts()?,
            _ => of_type = Some(node.word::<Type>(name)?),
        }
    }
    members.required(of_type, "type")?;
    Ok(Head {
        root_version: members.required(root_version, "root_version")?,
        roots,
    })
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
    #[cfg(feature = "ct")]
    pub(crate) log_list: Option<Result<LogList, LogListError>>,
    pub(crate) critical: Vec<String>,
}

impl Body {
    pub(crate) fn of(text: &str) -> Result<Self, PinFileError> {
        read(text, Names::Known(&NAMES), body)
    }

    /// Returns the first name among the critical ones that this version does not know.
    pub(crate) fn unknown_critical(&self) -> Option<&String> {
        let known = |name| name == COMMENT || NAMES.iter().any(|names| names.contains(&name));
        self.critical.iter().find(|name| !known(name))
    }
}

fn body(node: Node<'_>) -> Result<Body, Box<Fault>> {
    let mut members = node.object(&BODY)?;
    let (mut version, mut issued, mut expires, mut rules) = (None, None, None, None);
    let mut body = Body {
        version: 0,
        issued: at(0),
        expires: at(0),
        when_stale: WhenStale::default(),
        pins: StaticRules::default(),
        refused_keys: Vec::new(),
        kill_switch: None,
        staging: None,
        suspend_noted: Vec::new(),
        intermediates: Vec::new(),
        #[cfg(feature = "ct")]
        log_list: None,
        critical: Vec::new(),
    };
    while let Some((name, node)) = members.next()? {
        match name {
            "version" => version = Some(node.whole_number()?),
            "issued" => issued = Some(time(node)?),
            "expires" => expires = Some(time(node)?),
            "when_stale" => body.when_stale = node.word(name)?,
            "pins" => rules = Some(file(node)?),
            "refused_keys" => body.refused_keys = pins(node)?,
            "kill_switch" => body.kill_switch = Some(kill_switch(node)?),
            "staging" => body.staging = Some(staging(node)?),
            "suspend_noted" => body.suspend_noted = hosts(node)?,
            "intermediates" => body.intermediates = node.owned_texts()?,
            #[cfg(feature = "ct")]
            "log_list" => body.log_list = node.text().ok().map(LogList::parse),
            "critical" => body.critical = node.owned_texts()?,
            // Read before, as a `Head`.
            _ => {}
        }
    }
    body.version = members.required(version, "version")?;
    body.issued = members.required(issued, "issued")?;
    body.expires = members.required(expires, "expires")?;
    body.pins = members.required(rules, "pins")?;
    Ok(body)
}

fn kill_switch(node: Node<'_>) -> Result<UnixTime, Box<Fault>> {
    let mut members = node.object(&KILL_SWITCH)?;
    let mut until = None;
    while let Some((_, node)) = members.next()? {
        until = Some(time(node)?);
    }
    members.required(until, "until")
}

fn staging(node: Node<'_>) -> Result<(u64, String), Box<Fault>> {
    let mut members = node.object(&STAGING)?;
    let (mut percent, mut salt) = (None, None);
    while let Some((name, node)) = members.next()? {
        match name {
            "percent" => percent = Some(node.whole_number()?),
            _ => salt = Some(node.text()?.to_owned()),
        }
    }
    let percent = members.required(percent, "percent")?;
    Ok((percent, members.required(salt, "salt")?))
}

const HEAD: Kind = Kind {
    name: "bundle",
    members: &["root_version", "roots", "type"],
};

const BODY: Kind = Kind {
    name: "bundle",
    members: &[
        "critical",
        "expires",
        "intermediates",
        "issued",
        "kill_switch",
        #[cfg(feature = "ct")]
        "log_list",
        "pins",
        "refused_keys",
        "root_version",
        "roots",
        "staging",
        "suspend_noted",
        "type",
        "version",
        "when_stale",
    ],
};

const KILL_SWITCH: Kind = Kind {
    name: "kill switch",
    members: &["until"],
};

const STAGING: Kind = Kind {
    name: "staging",
    members: &["percent", "salt"],
};

/// The names of the members of all objects of a bundle.
const NAMES: [&[&str]; 6] = {
    let [file, policy, pin] = MEMBER_NAMES;
    [
        BODY.members,
        KILL_SWITCH.members,
        STAGING.members,
        file,
        policy,
        pin,
    ]
};
