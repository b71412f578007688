//! Signers of pin bundles, and the texts that they sign.

use std::fmt::Write;

use pinhold::bundle::{PinBundles, PinRoot, SignedNote, VerifierKey};
use pinhold::{PinPolicy, SpkiFingerprint};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData, SigningKey};

use super::DAY;

/// 1 January 2027, in seconds since the Unix epoch: when bundles are issued. A day before is after the
/// release.
pub const ISSUED: u64 = 1_798_761_600;

/// One signer of bundles and roots.
#[derive(Debug)]
pub struct Signer {
    pub key: VerifierKey,
    pair: KeyPair,
}

impl Signer {
    pub fn new(name: &str) -> Self {
        let pair = KeyPair::generate_for(&PKCS_ED25519).unwrap();
        Self::with_pair(name, pair)
    }

    fn with_pair(name: &str, pair: KeyPair) -> Self {
        let public = pair.der_bytes().try_into().unwrap();
        let key = VerifierKey::new(name, public).unwrap();
        Self { key, pair }
    }

    /// Returns a signer with the same key under another name.
    pub fn renamed(&self, name: &str) -> Self {
        let der = self.pair.serialize_der();
        Self::with_pair(name, KeyPair::try_from(der).unwrap())
    }

    pub fn sign(&self, note: &mut SignedNote) {
        let signature = self.pair.sign(note.text().as_bytes()).unwrap();
        note.sign(&self.key, &signature.try_into().unwrap());
    }
}

/// Returns the note of this text with the signatures of these signers.
pub fn signed(text: &str, signers: &[&Signer]) -> String {
    let mut note = SignedNote::new(text).unwrap();
    signers.iter().for_each(|signer| signer.sign(&mut note));
    note.to_string()
}

/// Returns the note of a root with the keys of its signers, signed by them and by others.
pub fn root(version: u64, threshold: u64, signers: &[&Signer], others: &[&Signer]) -> String {
    let keys = signers.iter().map(|signer| signer.key.clone());
    let root = PinRoot::new(version, threshold, keys).unwrap();
    signed(&root.to_text(), &[signers, others].concat())
}

/// The text of a bundle: its members, each with its JSON text.
#[derive(Clone, Debug)]
pub struct Body(Vec<(String, String)>);

impl Body {
    /// Returns a bundle of root 1, issued at [`ISSUED`] for 90 days, with the two pins of each host.
    pub fn new<'a>(
        version: u64,
        hosts: impl IntoIterator<Item = (&'a str, [SpkiFingerprint; 2])>,
    ) -> Self {
        let policies = hosts.into_iter().map(|(host, [one, other])| {
            format!(r#"{{ "hosts": ["{host}"], "pins": ["{one}", "{other}"] }}"#)
        });
        let policies = policies.collect::<Vec<_>>().join(", ");
        let pins = format!(r#"{{ "version": 1, "policies": [{policies}] }}"#);
        Self(Vec::new())
            .with("type", r#""pin-bundle""#)
            .with("version", version)
            .with("root_version", 1)
            .with("issued", time(ISSUED))
            .with("expires", time(ISSUED + 90 * DAY))
            .with("pins", pins)
    }

    /// Sets a member to this JSON text, in place of one with the same name.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl ToString) -> Self {
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value.to_string()));
        self
    }

    /// Removes a member.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.0.retain(|(known, _)| known != name);
        self
    }

    /// Sets the chain of roots.
    #[must_use]
    pub fn with_roots(self, version: u64, roots: &[&str]) -> Self {
        let roots = serde_json::to_string(roots).unwrap();
        self.with("root_version", version).with("roots", roots)
    }

    pub fn text(&self) -> String {
        let mut text = "{\n".to_owned();
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index + 1 < self.0.len() { "," } else { "" };
            writeln!(text, "  \"{name}\": {value}{comma}").unwrap();
        }
        text + "}\n"
    }

    /// Returns the bundle with the signatures of these signers.
    pub fn signed(&self, signers: &[&Signer]) -> Vec<u8> {
        signed(&self.text(), signers).into_bytes()
    }
}

/// Returns the JSON text of a time.
pub fn time(seconds: u64) -> String {
    let (days, second) = (seconds / DAY, seconds % DAY);
    let (mut year, mut day) = (1970, days);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let (month, day) = (month + 1, day + 1);
    format!("\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z\"")
}

/// Two signers, both of whom must sign, and the root with their keys.
#[derive(Debug)]
pub struct Operator {
    pub signers: [Signer; 2],
    pub root: String,
}

impl Default for Operator {
    fn default() -> Self {
        let signers = ["example.com/pins/1", "example.com/pins/2"].map(Signer::new);
        let root = root(1, 2, &[&signers[0], &signers[1]], &[]);
        Self { signers, root }
    }
}

impl Operator {
    pub fn both(&self) -> [&Signer; 2] {
        [&self.signers[0], &self.signers[1]]
    }

    pub fn sign(&self, body: &Body) -> Vec<u8> {
        body.signed(&self.both())
    }

    /// Returns what an application contains: the root, and this bundle.
    pub fn bundles(&self, built_in: &Body) -> PinBundles {
        let bundles = PinBundles::new(self.root.clone(), self.sign(built_in));
        bundles.with_provider(super::provider())
    }
}

/// Returns a policy with these pins.
pub fn policy(pins: [SpkiFingerprint; 2]) -> PinPolicy {
    PinPolicy::new(pins).unwrap()
}

/// Returns two pins that no certificate has: one for each number.
pub fn pins(number: u8) -> [SpkiFingerprint; 2] {
    [0, 1].map(|last| {
        let mut digest = [number; 32];
        digest[31] = 200 + last;
        SpkiFingerprint::from_digest(digest)
    })
}

/// Returns the base64 text of these bytes.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .fold(0, |bits, byte| bits << 8 | usize::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..4 {
            if place > group.len() {
                text.push('=');
            } else {
                text.push(DIGITS[bits >> (18 - 6 * place) & 63].into());
            }
        }
    }
    text
}
