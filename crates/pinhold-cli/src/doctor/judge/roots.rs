//! [`Roots`], the lists of roots with which paths are built.

use std::collections::HashMap;

use pinhold::roots::AnchorOrigin;
use pinhold::{SpkiFingerprint, TrustAnchors};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use x509_cert::der::Decode;
use x509_cert::name::Name;

use crate::certificate::{self, name_text};
use crate::doctor::forecast::RootStore;
use crate::failure::Failure;
use crate::network::{self, NetworkOptions};

pub(in crate::doctor) struct Roots {
    pub(super) lists: Vec<RootList>,
    /// Why the roots of the platform are not among the lists, if they should be.
    pub(in crate::doctor) skipped: Option<String>,
}

/// The roots that one kind of client has.
pub(super) struct RootList {
    pub(super) store: RootStore,
    pub(super) roots: Vec<Root>,
}

pub(super) struct Root {
    pub(super) anchor: TrustAnchor<'static>,
    pub(super) key: SpkiFingerprint,
    pub(super) name: String,
    /// The end of its certificate, if that is known. Verifiers may ignore it.
    pub(super) not_after: Option<UnixTime>,
    pub(super) is_user_added: bool,
}

impl Roots {
    /// Loads Mozilla's roots and those of the platform, or those of `--ca` alone.
    pub(in crate::doctor) fn load(network: &NetworkOptions) -> Result<Self, Failure> {
        let anchors = network.anchors()?;
        if !network.ca_files().is_empty() {
            let mut certificates = Vec::new();
            for file in network.ca_files() {
                certificates.extend(network::certificates(file)?);
            }
            let list = RootList::new(RootStore::Files, &anchors, &certificates);
            return Ok(Self::new(vec![list]));
        }
        let mozilla = webpki_root_certs::TLS_SERVER_ROOT_CERTS;
        let mut roots = Self::new(vec![RootList::new(RootStore::Mozilla, &anchors, mozilla)]);
        let (platform, errors) = TrustAnchors::native();
        let platform = RootList::new(RootStore::Platform, &platform, mozilla);
        if platform.roots.is_empty() {
            let reason = errors.first().map(ToString::to_string);
            roots.skipped = Some(reason.unwrap_or_else(|| "the platform has none".to_owned()));
        } else {
            roots.lists.push(platform);
        }
        Ok(roots)
    }

    /// Returns a single list of roots.
    #[cfg(test)]
    pub(in crate::doctor) fn of_list(
        store: RootStore,
        anchors: &TrustAnchors,
        certificates: &[CertificateDer<'_>],
    ) -> Self {
        Self::new(vec![RootList::new(store, anchors, certificates)])
    }

    /// Adds the roots of a platform.
    #[cfg(test)]
    pub(in crate::doctor) fn with_platform(mut self, anchors: &TrustAnchors) -> Self {
        let list = RootList::new(RootStore::Platform, anchors, &[]);
        self.lists.push(list);
        self
    }

    fn new(lists: Vec<RootList>) -> Self {
        Self {
            lists,
            skipped: None,
        }
    }

    /// Returns whether a key is that of a root in any list.
    pub(super) fn contains(&self, key: &SpkiFingerprint) -> bool {
        self.find(key).is_some()
    }

    /// Returns a root with this key.
    pub(super) fn find(&self, key: &SpkiFingerprint) -> Option<&Root> {
        let mut roots = self.lists.iter().flat_map(|list| &list.roots);
        roots.find(|root| root.key == *key)
    }

    /// Returns whether clients have the roots of this list.
    pub(super) fn has(&self, store: RootStore) -> bool {
        self.lists.iter().any(|list| list.store == store)
    }
}

impl RootList {
    /// Returns the list of these anchors. The certificates are those from which their ends are known.
    pub(super) fn new(
        store: RootStore,
        anchors: &TrustAnchors,
        certificates: &[CertificateDer<'_>],
    ) -> Self {
        let ends = certificates.iter().filter_map(|der| {
            let key = SpkiFingerprint::of_certificate(der).ok()?;
            Some((key, certificate::Facts::of(der)?.not_after))
        });
        let ends = ends.collect::<HashMap<_, _>>();
        let roots = anchors.iter().map(|(origin, anchor)| {
            let key = SpkiFingerprint::of_anchor(anchor);
            Root {
                anchor: anchor.clone(),
                key,
                name: subject(anchor),
                not_after: ends.get(&key).copied(),
                is_user_added: origin == AnchorOrigin::UserAdded,
            }
        });
        Self {
            store,
            roots: roots.collect(),
        }
    }
}

/// Returns the subject of an anchor, which has it without the header of its sequence.
fn subject(anchor: &TrustAnchor<'_>) -> String {
    let contents = anchor.subject.as_ref();
    let mut der = vec![0x30];
    match (u8::try_from(contents.len()), u16::try_from(contents.len())) {
        (Ok(len), _) if len < 0x80 => der.push(len),
        (Ok(len), _) => der.extend([0x81, len]),
        (_, Ok(len)) => {
            der.push(0x82);
            der.extend(len.to_be_bytes());
        }
        _ => {}
    }
    der.extend(contents);
    Name::from_der(&der).map_or_else(|_| "unreadable name".to_owned(), |name| name_text(&name))
}
