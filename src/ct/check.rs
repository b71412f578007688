//! The check of one certificate: which of its SCTs count, and whether they comply.

use std::collections::BTreeSet;
use std::sync::Arc;

use rustls_pki_types::{SignatureVerificationAlgorithm, UnixTime, alg_id};

use crate::ct::ct_policy::CtPolicy;
use crate::ct::log::{Log, LogState};
use crate::ct::log_list::LogList;
use crate::ct::outcome::{CtOutcome, CtVerdict, Facts, SctDelivery, SctVerdict, SeenSct};
use crate::ct::precert::{Entry, without_scts};
use crate::ct::sct::Sct;

/// A certificate of a validated path, and what was received with it.
pub(crate) struct Evidence<'a> {
    pub(crate) certificate: &'a [u8],
    /// The SHA-256 digest of the key that issued the certificate in the validated path. A log signs it
    /// with the precertificate, so that the SCTs of another CA's certificate don't count.
    pub(crate) issuer_key: [u8; 32],
    /// The lifetime of the certificate in seconds.
    pub(crate) lifetime: u64,
    pub(crate) ocsp_response: &'a [u8],
    pub(crate) algorithms: &'static [&'static dyn SignatureVerificationAlgorithm],
}

impl Evidence<'_> {
    /// Returns what the SCTs show. At most [`MAX_VERIFIED`] signatures are verified.
    pub(crate) fn check(&self, list: &LogList, policy: &CtPolicy, now: UnixTime) -> CtOutcome {
        let mut seen = SctCheck {
            list,
            now: now.as_secs().saturating_mul(1000).saturating_add(999),
            verified: 0,
            scts: Vec::new(),
        };
        let embedded = Sct::of_certificate(self.certificate);
        if embedded.iter().any(|sct| list.get(&sct.log_id()).is_some())
            && let Some(contents) = without_scts(self.certificate)
        {
            let entry = Entry::Precertificate(self.issuer_key, contents);
            seen.add(&embedded, SctDelivery::Embedded, &entry, self.algorithms);
        }
        seen.add_unknown(&embedded, SctDelivery::Embedded);
        let stapled = Sct::of_ocsp_response(self.ocsp_response);
        if !stapled.is_empty() {
            let entry = Entry::Certificate(self.certificate.to_vec());
            seen.add(&stapled, SctDelivery::Ocsp, &entry, self.algorithms);
            seen.add_unknown(&stapled, SctDelivery::Ocsp);
        }
        seen.drop_retired();
        let verdict = seen.verdict(policy, self.lifetime);
        let age = now.as_secs().saturating_sub(list.timestamp().as_secs());
        CtOutcome(Arc::new(Facts {
            verdict,
            scts: seen.scts,
            list: list.timestamp(),
            is_stale: age > policy.max_list_age.as_secs() || list.is_from_future(now),
            at: now,
        }))
    }
}

/// The SCTs seen so far.
struct SctCheck<'l> {
    list: &'l LogList,
    /// In milliseconds, at the end of the current second.
    now: u64,
    verified: usize,
    scts: Vec<SeenSct>,
}

impl SctCheck<'_> {
    /// Adds the SCTs of logs that the list has.
    fn add(
        &mut self,
        scts: &[Sct<'_>],
        delivery: SctDelivery,
        entry: &Entry,
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) {
        for sct in scts {
            let Some(log) = self.list.get(&sct.log_id()) else {
                continue;
            };
            let mut known = self.scts.iter().filter(|it| it.delivery == delivery);
            let verdict = if known.any(|it| it.log_id == log.id && it.verdict == SctVerdict::Counts)
            {
                SctVerdict::SameLog
            } else if sct.timestamp() > self.now {
                SctVerdict::Future
            } else if matches!(log.state, LogState::Pending | LogState::Rejected) {
                SctVerdict::NotAccepted
            } else if self.verified >= MAX_VERIFIED {
                SctVerdict::NotVerified
            } else {
                self.verified += 1;
                verify(sct, log, entry, algorithms)
            };
            self.push(sct, Some(log), delivery, verdict);
        }
    }

    /// Adds the SCTs of other logs, without any work for them.
    fn add_unknown(&mut self, scts: &[Sct<'_>], delivery: SctDelivery) {
        for sct in scts.iter().take(MAX_SEEN) {
            if self.list.get(&sct.log_id()).is_none() {
                self.push(sct, None, delivery, SctVerdict::UnknownLog);
            }
        }
    }

    fn push(
        &mut self,
        sct: &Sct<'_>,
        log: Option<&Log>,
        delivery: SctDelivery,
        verdict: SctVerdict,
    ) {
        // One that counts is never omitted: at most 16 do.
        if self.scts.len() >= MAX_SEEN && verdict != SctVerdict::Counts {
            return;
        }
        let operator = |log: &Log| log.operator_at(sct.timestamp()).to_owned();
        self.scts.push(SeenSct {
            log_id: sct.log_id(),
            log: log.map(|log| (log.description.clone(), operator(log))),
            timestamp: sct.timestamp(),
            delivery,
            verdict,
        });
    }

    /// Lets SCTs of retired logs count only where Chrome does: embedded, if the earliest valid SCT is
    /// older than the retirement.
    fn drop_retired(&mut self) {
        let counted = self
            .scts
            .iter()
            .filter(|sct| sct.verdict == SctVerdict::Counts);
        let issued = counted.map(|sct| sct.timestamp).min().unwrap_or(u64::MAX);
        for sct in &mut self.scts {
            let state = self.list.get(&sct.log_id).map(Log::state);
            if let (Some(LogState::Retired { since }), SctVerdict::Counts) = (state, sct.verdict)
                && (sct.delivery == SctDelivery::Ocsp || issued / 1000 >= since.as_secs())
            {
                sct.verdict = SctVerdict::Retired;
            }
        }
    }

    /// Returns the better verdict of the two ways of delivery.
    fn verdict(&self, policy: &CtPolicy, lifetime: u64) -> CtVerdict {
        let embedded = self.verdict_of(SctDelivery::Embedded, policy, policy.required(lifetime));
        let stapled = self.verdict_of(SctDelivery::Ocsp, policy, policy.short.max(1));
        let has_embedded = self
            .scts
            .iter()
            .any(|it| it.delivery == SctDelivery::Embedded);
        let has_stapled = self.scts.iter().any(|it| it.delivery == SctDelivery::Ocsp);
        if stapled == CtVerdict::Compliant || (has_stapled && !has_embedded) {
            return stapled;
        }
        embedded
    }

    fn verdict_of(&self, delivery: SctDelivery, policy: &CtPolicy, required: usize) -> CtVerdict {
        let counted = self
            .scts
            .iter()
            .filter(|sct| sct.delivery == delivery && sct.verdict == SctVerdict::Counts);
        let found = counted.clone().count();
        if found < required {
            return CtVerdict::TooFewLogs { found, required };
        }
        let logs = counted.filter_map(|sct| Some((&sct.log_id, &sct.log.as_ref()?.1)));
        let operators = logs.clone().map(|(_, name)| name).collect::<BTreeSet<_>>();
        let (found, required) = (operators.len(), policy.operators);
        if found < required {
            return CtVerdict::TooFewOperators { found, required };
        }
        let mut states = logs.filter_map(|(id, _)| Some(self.list.get(id)?.state));
        if states.any(LogState::is_current) {
            CtVerdict::Compliant
        } else {
            CtVerdict::NoCurrentLog
        }
    }
}

/// Verifies the signature of an SCT: ECDSA with P-256, or RSA, both with SHA-256 (RFC 6962 section
/// 2.1.4).
fn verify(
    sct: &Sct<'_>,
    log: &Log,
    entry: &Entry,
    algorithms: &[&dyn SignatureVerificationAlgorithm],
) -> SctVerdict {
    let of_key = |id: &[u8]| log.key.algorithm == id;
    let (scheme, signature) = if of_key(alg_id::ECDSA_P256.as_ref()) {
        (0x0403, alg_id::ECDSA_SHA256)
    } else if of_key(alg_id::RSA_ENCRYPTION.as_ref()) {
        (0x0401, alg_id::RSA_PKCS1_SHA256)
    } else {
        return SctVerdict::UnsupportedKey;
    };
    let mut known = algorithms.iter();
    let algorithm = known.find(|algorithm| {
        of_key(algorithm.public_key_alg_id().as_ref()) && algorithm.signature_alg_id() == signature
    });
    let Some(algorithm) = algorithm else {
        return SctVerdict::UnsupportedKey;
    };
    let is_valid = sct.scheme() == scheme
        && entry.signed_bytes(sct).is_some_and(|message| {
            let verified = algorithm.verify_signature(&log.key.bits, &message, sct.signature());
            verified.is_ok()
        });
    if is_valid {
        SctVerdict::Counts
    } else {
        SctVerdict::BadSignature
    }
}

/// The signatures that are verified for one handshake. A certificate has two or three SCTs.
const MAX_VERIFIED: usize = 16;
/// The SCTs that are kept to be shown.
const MAX_SEEN: usize = 32;
