//! Bundles and roots of another implementation, `tests/formats/bundles/make.py`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{at, peers, provider};
use pinhold::bundle::{
    BundleError, BundleVersion, NoteError, PinBundle, PinBundles, PinRoot, RootError, SignedNote,
};
use pinhold::pin_file::PinFileProblem;
use pinhold::{BuildError, Pinning};
use serde::Deserialize;

/// An entry of the list. What its members mean is stated in `make.py`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    bundle: Option<String>,
    contained: Option<String>,
    root: Option<String>,
    after: Option<String>,
    accepted: Option<Accepted>,
    refused: Option<String>,
    same_as: Option<String>,
    values: Option<Values>,
    repeated: Option<u8>,
    times: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    root_version: u64,
    version: u64,
    sha256: String,
}

/// The values of a bundle, as another implementation wrote them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Values {
    hosts: Vec<String>,
    issued: u64,
    expires: u64,
    when_stale: Option<String>,
    kill_switch: Option<u64>,
    percent: Option<u8>,
    salt: Option<String>,
    #[serde(default)]
    suspend_noted: Vec<String>,
    #[serde(default)]
    refused_keys: Vec<String>,
    #[serde(default)]
    intermediates: usize,
}

impl Entry {
    fn bytes(&self) -> Vec<u8> {
        match (&self.bundle, self.repeated, self.times) {
            (Some(name), None, None) => read(name, "bundle"),
            (None, Some(byte), Some(times)) => vec![byte; times],
            _ => panic!("{self:?}"),
        }
    }

    fn root(&self) -> String {
        let name = self.root.as_ref().unwrap();
        String::from_utf8(read(name, "root")).unwrap()
    }

    fn verify(&self) -> Result<PinBundle, BundleError> {
        let root = PinRoot::parse(&self.root()).unwrap();
        PinBundle::verify(&self.bytes(), &root, &provider())
    }

    /// Applies the bundle after another one that the application contains.
    fn apply_after(&self, after: &str) -> BundleError {
        let bundles = PinBundles::new(self.root(), read(after, "bundle"));
        let bundles = bundles.with_provider(provider());
        let pinning = Pinning::builder().bundles(bundles).build().unwrap();
        pinning.apply_bundle(&self.bytes()).unwrap_err()
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/bundles")
}

fn read(name: &str, extension: &str) -> Vec<u8> {
    let path = folder().join(format!("{name}.{extension}"));
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn entries() -> Vec<Entry> {
    let index = fs::read(folder().join("index.json")).unwrap();
    serde_json::from_slice(&index).unwrap()
}

#[test]
fn bundles_of_another_implementation_are_accepted() {
    let mut count = 0;
    for entry in entries() {
        let Some(accepted) = &entry.accepted else {
            continue;
        };
        count += 1;
        let bundle = entry
            .verify()
            .unwrap_or_else(|error| panic!("{entry:?}: {error}"));
        let version = BundleVersion::new(accepted.root_version, accepted.version);
        assert_eq!(bundle.version(), version, "{entry:?}");
        assert_eq!(hex(&bundle.digest()), accepted.sha256, "{entry:?}");
        assert_eq!(PinBundle::parse_unverified(&entry.bytes()).unwrap(), bundle);
        if let Some(values) = &entry.values {
            assert_values(&bundle, values);
        }
        if let Some(same) = &entry.same_as {
            let other = PinBundle::parse_unverified(&read(same, "bundle")).unwrap();
            assert_same(&bundle, &other);
        }
        // The note is printed as it was read.
        let text = String::from_utf8(entry.bytes()).unwrap();
        assert_eq!(SignedNote::parse(&text).unwrap().to_string(), text);
    }
    assert!(count > 20, "{count}");
}

fn assert_values(bundle: &PinBundle, values: &Values) {
    let names = |hosts: &[pinhold::Host]| {
        let names = hosts.iter().map(|host| host.as_str().to_owned());
        names.collect::<Vec<_>>()
    };
    let hosts = bundle.pins().policies().iter();
    let hosts = hosts.map(|(host, _)| host.clone()).collect::<Vec<_>>();
    assert_eq!(names(&hosts), values.hosts);
    assert_eq!(
        (bundle.issued(), bundle.expires()),
        (at(values.issued), at(values.expires))
    );
    let when_stale = values.when_stale.as_deref().unwrap_or("Enforce");
    assert_eq!(format!("{:?}", bundle.when_stale()), when_stale);
    assert_eq!(bundle.kill_switch(), values.kill_switch.map(at));
    let staging = bundle.staging();
    assert_eq!(staging.map(|staging| staging.percent()), values.percent);
    assert_eq!(
        staging.map(|staging| staging.salt()),
        values.salt.as_deref()
    );
    assert_eq!(names(bundle.suspend_noted()), values.suspend_noted);
    assert_eq!(bundle.intermediates().len(), values.intermediates);
    let refused = bundle
        .refused_keys()
        .into_iter()
        .flat_map(|keys| keys.iter());
    let refused = refused.map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(refused, values.refused_keys.iter().cloned().collect());
}

/// Asserts that two bundles mean the same. Their digests and roots may differ.
fn assert_same(one: &PinBundle, other: &PinBundle) {
    assert_eq!(
        (one.issued(), one.expires()),
        (other.issued(), other.expires())
    );
    assert_eq!(
        (one.version(), one.when_stale()),
        (other.version(), other.when_stale())
    );
    assert_eq!(one.pins(), other.pins());
    assert_eq!(one.refused_keys(), other.refused_keys());
    assert_eq!(
        (one.kill_switch(), one.staging()),
        (other.kill_switch(), other.staging())
    );
    assert_eq!(one.suspend_noted(), other.suspend_noted());
    assert_eq!(one.intermediates(), other.intermediates());
}

#[test]
fn refused_variants_of_another_implementation_are_refused_with_their_reason() {
    let mut reasons = BTreeSet::new();
    for entry in entries() {
        let Some(refused) = &entry.refused else {
            continue;
        };
        let found = match (&entry.contained, &entry.after) {
            (Some(root), _) => describe_root(&contained(root)),
            (None, Some(after)) => describe(&entry.apply_after(after)),
            (None, None) => match entry.verify() {
                Ok(_) => panic!("accepted: {entry:?}"),
                Err(error) => describe(&error),
            },
        };
        assert_eq!(&found, refused, "{entry:?}");
        let of_root = entry.contained.as_ref().map_or("", |_| "Root 0 ");
        reasons.insert(reason(&format!("{of_root}{found}")));
    }
    let expected = REASONS.lines().map(str::trim).map(str::to_owned);
    let expected = expected.filter(|line| !line.is_empty()).collect();
    assert_eq!(reasons, expected);
}

/// Returns the error of an application that contains this root.
fn contained(root: &str) -> RootError {
    let root = String::from_utf8(read(root, "root")).unwrap();
    let bundles = PinBundles::new(root, read("plain", "bundle")).with_provider(provider());
    match Pinning::builder().bundles(bundles).build() {
        Err(BuildError::PinRoot(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Returns the words of a description that are names of variants.
fn reason(described: &str) -> String {
    let mut words = described.split(' ').peekable();
    let first = words.next().unwrap();
    match first {
        "Root" => format!(
            "Root {}",
            reason(&words.skip(1).collect::<Vec<_>>().join(" "))
        ),
        "Body" | "Note" => format!("{first} {}", words.next().unwrap()),
        _ => first.to_owned(),
    }
}

/// Every refusal that a file can cause. A key can't have a name that is none, since `KeyName` is for
/// names that a program makes.
const REASONS: &str = "
    BadSignature
    Body ConflictingMembers
    Body DuplicateHost
    Body DuplicateMember
    Body Host
    Body Json
    Body MissingMember
    Body NoPolicies
    Body Pin
    Body Policy
    Body ReportUri
    Body Time
    Body UnknownValue
    Body Version
    Critical
    Equivocation
    Exemption
    Expiry
    Intermediate
    KillSwitch
    Note ControlCharacter
    Note NoSignatures
    Note SignatureLine
    Note TooManySignatures
    Note Utf8
    NotNewestRoot
    Rollback
    Root BadSignature
    Root Body DuplicateMember
    Root Body MissingMember
    Root Body UnknownValue
    Root Critical
    Root Key
    Root Note ControlCharacter
    Root Note NoSignatures
    Root Signatures
    Root Threshold
    RootGap
    Signatures
    Staging
    SuspendsOther
    TooLarge
";

/// Describes an error as the list does: by its variant, and the values that matter.
fn describe(error: &BundleError) -> String {
    match error {
        BundleError::BadSignature { name } => format!("BadSignature {name}"),
        BundleError::Body(error) => format!("Body {}", variant(error.problem())),
        BundleError::Critical { member } => format!("Critical {member}"),
        BundleError::Equivocation { version, .. } => format!("Equivocation {}", number(version)),
        BundleError::Exemption { host, exempt } => format!("Exemption {host} {exempt}"),
        BundleError::Expiry { .. } => "Expiry".to_owned(),
        BundleError::Intermediate { index } => format!("Intermediate {index}"),
        BundleError::KillSwitch { .. } => "KillSwitch".to_owned(),
        BundleError::Note(error) => format!("Note {}", describe_note(error)),
        BundleError::NotNewestRoot { root, newest } => format!("NotNewestRoot {root} of {newest}"),
        BundleError::Rollback { offered, floor } => {
            format!("Rollback {} below {}", number(offered), number(floor))
        }
        BundleError::Root { index, error } => format!("Root {index} {}", describe_root(error)),
        BundleError::RootGap { expected, found } => format!("RootGap {expected} not {found}"),
        BundleError::Signatures { valid, threshold } => {
            format!("Signatures {valid} of {threshold}")
        }
        BundleError::Staging { percent } => format!("Staging {percent}"),
        BundleError::SuspendsOther { host } => format!("SuspendsOther {host}"),
        BundleError::TooLarge { size } => format!("TooLarge {size}"),
        BundleError::UnionOfGroups { host } => format!("UnionOfGroups {host}"),
        error => panic!("no file causes {error}"),
    }
}

fn describe_root(error: &RootError) -> String {
    match error {
        RootError::BadSignature { name } => format!("BadSignature {name}"),
        RootError::Body(error) => format!("Body {}", variant(error.problem())),
        RootError::Critical { member } => format!("Critical {member}"),
        RootError::Key { .. } => "Key".to_owned(),
        RootError::Note(error) => format!("Note {}", describe_note(error)),
        RootError::Signatures {
            by,
            valid,
            threshold,
        } => {
            format!("Signatures {valid} of {threshold} by {by}")
        }
        RootError::Threshold { threshold, keys } => format!("Threshold {threshold} of {keys}"),
        error => panic!("no file causes {error}"),
    }
}

fn describe_note(error: &NoteError) -> String {
    match error {
        NoteError::ControlCharacter { offset } => format!("ControlCharacter {offset}"),
        NoteError::NoSignatures => "NoSignatures".to_owned(),
        NoteError::SignatureLine { number } => format!("SignatureLine {number}"),
        NoteError::TooManySignatures => "TooManySignatures".to_owned(),
        NoteError::Utf8 => "Utf8".to_owned(),
        error => panic!("no file causes {error}"),
    }
}

/// Returns the name of the variant.
fn variant(problem: &PinFileProblem) -> String {
    let debug = format!("{problem:?}");
    debug.split([' ', '(']).next().unwrap().to_owned()
}

fn number(version: &BundleVersion) -> String {
    format!("{}.{}", version.root, version.bundle)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_other_implementation_writes_the_same_files_again() {
    let Some(python) = peers::program("python3") else {
        return;
    };
    let written = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let script = folder().join("make.py");
    let output = Command::new(python)
        .arg(script)
        .arg(written.path())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let files = |folder: &Path| {
        let entries = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let files =
            entries.filter(|path| path.is_file() && path.extension() != Some("py".as_ref()));
        let files = files.map(|path| {
            let name = path.file_name().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        });
        files.collect::<std::collections::BTreeMap<_, _>>()
    };
    let (committed, written) = (files(&folder()), files(written.path()));
    let names = |files: &std::collections::BTreeMap<std::ffi::OsString, Vec<u8>>| {
        files.keys().cloned().collect::<Vec<_>>()
    };
    assert_eq!(names(&committed), names(&written));
    for (name, bytes) in &written {
        assert!(committed.get(name) == Some(bytes), "{name:?} differs");
    }
}
