//! The verifier with static pins, compared with `WebPkiServerVerifier` and with a slow search for
//! all valid paths.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use pinhold::roots::AnchorOrigin;
use pinhold::{
    Enforcement, PinPolicy, PinViolation, Pinning, PinningVerifier, SpkiFingerprint, TrustAnchors,
    UserAddedRoots,
};
use ring::digest;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{
    CertificateDer, ServerName, SubjectPublicKeyInfoDer, TrustAnchor, UnixTime,
};
use webpki::EndEntityCert;

use crate::certificates::{ALGORITHMS, Role, Spec, subject_public_key_info};
use crate::input::Input;
use crate::valid_paths::{Path, Served};

/// The input describes the certificates, their order, the trust anchors with their origins, the
/// pins, the name and the time.
///
/// # Panics
///
/// If the verifier accepts a chain without a valid path that passes the pins, refuses one with such
/// a path, or returns another error than `WebPkiServerVerifier` does for a chain without a valid
/// path; or if a second verification, with cached signatures, has another outcome.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let rules = Rules::read(&mut input);
    let roots = Root::read_all(&mut input);
    let (leaf, intermediates) = chain(&mut input);
    let distinct = without_copies(&intermediates);
    let served = Served {
        leaf: &leaf,
        intermediates: &distinct,
        name: &rules.name,
        now: rules.now,
    };

    let anchors = anchors(&roots);
    let parsed = anchors
        .iter()
        .map(|(_, anchor)| anchor.clone())
        .collect::<Vec<_>>();
    let origins = anchors.iter().map(|(origin, _)| origin).collect::<Vec<_>>();
    for ((origin, anchor), root) in anchors.iter().filter_map(|known| {
        let root = roots.iter().find(|root| root.anchor() == *known.1)?;
        Some((known, root))
    }) {
        assert_eq!(origin, root.expected_origin(&roots), "{anchor:?}");
    }

    let pinning = rules.pinning();
    let verifier = PinningVerifier::builder(pinning)
        .with_anchors(anchors)
        .with_provider(Arc::clone(&PROVIDER))
        .verifier_without_resumption_check()
        .expect("there are anchors");
    let verify = |verifier: &dyn ServerCertVerifier, intermediates: &[CertificateDer<'_>]| {
        let verdict =
            verifier.verify_server_cert(&leaf, intermediates, &rules.name, &[], rules.now);
        verdict.map(drop)
    };
    let found = verify(&verifier, &intermediates);
    let again = verify(&verifier, &intermediates);
    assert_eq!(found.is_ok(), again.is_ok(), "with cached signatures");

    let reference = reference(&parsed);
    let expected = verify(&*reference, &distinct);
    let valid = served.valid_paths(&parsed);
    let exceeds_limits = || served.exceeds_limits(&parsed);
    assert!(
        expected.is_err() || !valid.is_empty(),
        "the slow search missed a path"
    );
    assert!(
        expected.is_ok() || valid.is_empty() || exceeds_limits(),
        "{expected:?}"
    );

    let passes = |path: &Path<'_>| rules.passes(&keys(path, &parsed), origins[path.anchor]);
    match found {
        Ok(()) => assert!(
            valid.iter().any(passes),
            "accepted without a path that passes"
        ),
        Err(error) => match PinViolation::find(&error) {
            Some(violation) => {
                let refused = violation.chain().fingerprints();
                let mut valid_keys = valid.iter().map(|path| keys(path, &parsed));
                assert!(valid_keys.any(|keys| keys == refused), "not a valid path");
                let is_refused = !valid.iter().any(passes);
                assert!(
                    is_refused || exceeds_limits(),
                    "refused with a path that passes"
                );
            }
            None => {
                assert!(valid.is_empty() || exceeds_limits(), "{error:?}");
                // Copies may be what makes rustls exceed its limits.
                let of_all = verify(&*reference, &intermediates).err();
                let text = |error: &rustls::Error| format!("{error:?}");
                assert_eq!(of_all.as_ref().map(text), Some(text(&error)));
            }
        },
    }
}

/// The policy, and for what the chain is verified.
struct Rules {
    name: ServerName<'static>,
    now: UnixTime,
    /// Whether the policy is for a superdomain of the name, or for another host.
    policy_host: &'static str,
    pinned: u8,
    enforcement: Enforcement,
    user_added_roots: UserAddedRoots,
}

impl Rules {
    /// Reads two bytes.
    fn read(input: &mut Input<'_>) -> Self {
        let pinned = input.byte();
        let choices = input.byte();
        let name = match choices & 3 {
            0 => "host.example",
            1 => "sub.host.example",
            2 => "HOST.example",
            _ => "192.0.2.1",
        };
        let (enforcement, user_added_roots) = (choices & 0x10, choices & 0x20);
        Self {
            name: ServerName::try_from(name).expect("a valid name"),
            now: UnixTime::since_unix_epoch(match choices >> 2 & 3 {
                0 | 1 => SPRING_2030,
                2 => SPRING_2030 + Duration::from_secs(400 * 86_400),
                _ => Duration::from_secs(1_900_000_000 - 1_000 * 86_400),
            }),
            policy_host: if choices & 0x40 == 0 {
                "host.example"
            } else {
                "else.example"
            },
            pinned,
            enforcement: if enforcement == 0 {
                Enforcement::Enforce
            } else {
                Enforcement::ReportOnly
            },
            user_added_roots: if user_added_roots == 0 {
                UserAddedRoots::SkipPins
            } else {
                UserAddedRoots::EnforcePins
            },
        }
    }

    fn pinning(&self) -> Pinning {
        let backup = [
            SpkiFingerprint::from_digest([0xff; 32]),
            SpkiFingerprint::from_digest([0xfe; 32]),
        ];
        let pins = (0..8)
            .filter(|key| self.is_pinned(*key))
            .map(|key| KEYS[usize::from(key)]);
        let policy = PinPolicy::new(pins.chain(backup))
            .expect("at least two pins")
            .include_subdomains()
            .enforcement(self.enforcement)
            .user_added_roots(self.user_added_roots);
        let builder = Pinning::builder().static_pins(self.policy_host, policy);
        builder.build().expect("a valid policy")
    }

    fn is_pinned(&self, key: u8) -> bool {
        self.pinned & 1 << key != 0
    }

    /// Returns whether a valid path with these keys, to an anchor of this origin, is accepted.
    fn passes(&self, keys: &[SpkiFingerprint], origin: AnchorOrigin) -> bool {
        let applies = self.policy_host == "host.example"
            && matches!(self.name, ServerName::DnsName(_))
            && self.enforcement == Enforcement::Enforce;
        let skips =
            origin == AnchorOrigin::UserAdded && self.user_added_roots == UserAddedRoots::SkipPins;
        let mut numbers = 0..8;
        let matches =
            numbers.any(|key| self.is_pinned(key) && keys.contains(&KEYS[usize::from(key)]));
        !applies || skips || matches
    }
}

#[derive(Clone, Copy)]
struct Root {
    name: u8,
    key: u8,
    origin: AnchorOrigin,
}

impl Root {
    /// Reads the number of roots, at most three, and a byte for each.
    fn read_all(input: &mut Input<'_>) -> Vec<Self> {
        let count = 1 + input.byte() % 3;
        let roots = (0..count).map(|_| {
            let byte = input.byte();
            Self {
                name: byte & 7,
                key: byte >> 3 & 7,
                origin: match byte >> 6 {
                    0 | 1 => AnchorOrigin::BuiltIn,
                    2 => AnchorOrigin::UserAdded,
                    _ => AnchorOrigin::Unknown,
                },
            }
        });
        roots.collect()
    }

    fn certificate(self) -> CertificateDer<'static> {
        Spec::root(self.name, self.key).certificate(Role::Ca)
    }

    fn anchor(self) -> TrustAnchor<'static> {
        let certificate = self.certificate();
        let anchor = webpki::anchor_from_trusted_cert(&certificate);
        anchor.expect("a valid root").to_owned()
    }

    /// A root that was added several times is built-in rather than user-added, and user-added
    /// rather than unknown.
    fn expected_origin(self, roots: &[Self]) -> AnchorOrigin {
        let same = roots
            .iter()
            .filter(|root| (root.name, root.key) == (self.name, self.key));
        let origins = same.map(|root| root.origin).collect::<Vec<_>>();
        let mut ordered = [AnchorOrigin::BuiltIn, AnchorOrigin::UserAdded].into_iter();
        let first = ordered.find(|origin| origins.contains(origin));
        first.unwrap_or(AnchorOrigin::Unknown)
    }
}

fn anchors(roots: &[Root]) -> TrustAnchors {
    roots.iter().fold(TrustAnchors::new(), |anchors, root| {
        let certificate = [root.certificate()];
        let added = match root.origin {
            AnchorOrigin::BuiltIn => anchors.with_built_in(certificate),
            AnchorOrigin::UserAdded => anchors.with_user_added(certificate),
            _ => anchors.with_unknown(certificate),
        };
        added.expect("a valid root")
    })
}

/// Reads at most five certificates, of which the first is the leaf, and the order of at most seven
/// intermediates, some of which may be copies.
fn chain(input: &mut Input<'_>) -> (CertificateDer<'static>, Vec<CertificateDer<'static>>) {
    let count = 1 + input.byte() % 5;
    let certificates = (0..count).map(|position| {
        let role = if position == 0 { Role::Leaf } else { Role::Ca };
        Spec::read(input).certificate(role)
    });
    let certificates = certificates.collect::<Vec<_>>();
    let order = input.byte() % 8;
    let mut intermediates = Vec::new();
    if order == 0 {
        intermediates.extend(certificates.iter().skip(1).cloned());
    }
    for _ in 0..order {
        let position = usize::from(input.byte()) % certificates.len();
        intermediates.push(certificates[position].clone());
    }
    (certificates[0].clone(), intermediates)
}

fn without_copies(certificates: &[CertificateDer<'static>]) -> Vec<CertificateDer<'static>> {
    let mut distinct = Vec::new();
    for certificate in certificates {
        if !distinct.contains(certificate) {
            distinct.push(certificate.clone());
        }
    }
    distinct
}

fn reference(anchors: &[TrustAnchor<'static>]) -> Arc<WebPkiServerVerifier> {
    let roots = RootCertStore {
        roots: anchors.to_vec(),
    };
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&PROVIDER))
        .build()
        .expect("there are roots")
}

/// Returns the fingerprints of a path, the anchor's last.
fn keys(path: &Path<'_>, anchors: &[TrustAnchor<'_>]) -> Vec<SpkiFingerprint> {
    let served = path.certificates.iter().map(|der| {
        // The key of a leaf need not be one that can be parsed.
        let parsed = EndEntityCert::try_from(*der).expect("on a valid path");
        let hash = digest::digest(&digest::SHA256, &parsed.subject_public_key_info());
        SpkiFingerprint::from_digest(hash.as_ref().try_into().expect("32 bytes"))
    });
    let anchor = SpkiFingerprint::of_anchor(&anchors[path.anchor]);
    served.chain([anchor]).collect()
}

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let mut provider = rustls::crypto::ring::default_provider();
    provider.signature_verification_algorithms = ALGORITHMS;
    Arc::new(provider)
});

/// The fingerprints of the keys that certificates have.
static KEYS: LazyLock<[SpkiFingerprint; 8]> = LazyLock::new(|| {
    [0, 1, 2, 3, 4, 5, 6, 7].map(|key| {
        let spki = SubjectPublicKeyInfoDer::from(subject_public_key_info(key));
        SpkiFingerprint::of_public_key(&spki).expect("a valid key")
    })
});

/// 2030-03-17
const SPRING_2030: Duration = Duration::from_secs(1_900_000_000);
