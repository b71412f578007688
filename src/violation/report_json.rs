//! The JSON encoding of reports ([RFC 7469 section 3]), and what an application may change in it.
//!
//! [RFC 7469 section 3]: https://www.rfc-editor.org/rfc/rfc7469#section-3

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use serde_json::Value;

use crate::policy::PinSource;
use crate::policy::text::write_with_causes;
use crate::policy::timestamp::{self, print_capped};
use crate::violation::pin_violation::PinViolation;
use crate::violation::report::Report;
use crate::violation::report_pem;

impl Report {
    /// Encodes the report as the JSON object that RFC 7469 section 3 describes, with the details
    /// and additional fields of `form`.
    ///
    /// If the policy does not expire, `effective-expiration-date` is the last second of the year
    /// 9999. The validated chain ends with the certificate of the root if that is known: because
    /// the application supplied it, or because the server sent it.
    ///
    /// If the application refuses a key of the chain, `known-pins` is empty, and the additional field
    /// `refused-keys` has these keys in its syntax (none with [`ReportDetail::Counts`]).
    ///
    /// ```
    /// use pinhold::PinViolation;
    /// use pinhold::report::{Report, ReportForm};
    ///
    /// fn print(violation: PinViolation) {
    ///     let report = Report::new(violation).with_port(8443);
    ///     println!("{}: {}", report.id(), report.to_json(&ReportForm::new()));
    /// }
    /// ```
    #[must_use]
    pub fn to_json(&self, form: &ReportForm) -> String {
        let (violation, policy) = (self.violation(), self.violation().policy());
        let expires_at = policy.expires_at.map(print_capped);
        let expires_at = expires_at.unwrap_or_else(|| timestamp::MAX.to_owned());
        // In the order of RFC 7469 section 3.
        let mut json = JsonObject::default();
        json.add("date-time", print_capped(violation.at()));
        json.add("hostname", violation.host().as_str());
        json.add("port", self.port());
        json.add("effective-expiration-date", expires_at);
        json.add("include-subdomains", policy.scope.includes_subdomains());
        json.add("noted-hostname", policy.noted_hostname.as_str());
        form.detail.add_fields(&mut json, violation);
        for (name, value) in &form.fields {
            json.add(name, value.as_str());
        }
        json.finish()
    }
}

/// How much of the chains and pins a report contains.
///
/// ```
/// use pinhold::report::{ReportDetail, ReportForm};
///
/// let form = ReportForm::new().detail(ReportDetail::Counts);
/// # drop(form);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ReportDetail {
    /// No certificates and no keys: `known-pins` is empty, and the numbers `served-certificates`,
    /// `validated-keys` and `pins` replace the rest.
    Counts,
    /// Keys, but no certificates: `validated-pins`, in the syntax of `known-pins`, replaces both
    /// chains.
    Fingerprints,
    /// All fields of RFC 7469 section 3, with the certificates as PEM. They can reveal who
    /// intercepts the traffic of the user's network (RFC 7469 section 5).
    #[default]
    Full,
}

impl ReportDetail {
    /// Adds the fields about chains and pins.
    fn add_fields(self, json: &mut JsonObject, violation: &PinViolation) {
        let (chain, policy) = (violation.chain(), violation.policy());
        let is_refused_key = policy.source == PinSource::RefusedKeys;
        // A root that the server sent can be the last certificate of the path and the anchor, too.
        let mut keys = chain.fingerprints().to_vec();
        keys.dedup();
        // RFC 7469 section 3 does not specify the quotation marks of `known-pins`. Its figure and
        // Chrome have double ones, as in a header field.
        let known_pins = || {
            let pins = policy.pins.iter().filter(|_| !is_refused_key);
            pins.map(|pin| pin.to_directive()).collect::<Vec<_>>()
        };
        if is_refused_key {
            let keys = policy.pins.iter().filter(|_| self != Self::Counts);
            let keys = keys.map(|key| key.to_directive());
            json.add("refused-keys", keys.collect::<Vec<_>>());
        }
        match self {
            Self::Counts => {
                json.add("known-pins", Vec::<Value>::new());
                json.add("served-certificates", chain.served().len());
                json.add("validated-keys", keys.len());
                json.add("pins", policy.pins.len());
            }
            Self::Fingerprints => {
                json.add("known-pins", known_pins());
                let keys = keys.iter().map(|key| key.to_directive());
                json.add("validated-pins", keys.collect::<Vec<_>>());
            }
            Self::Full => {
                let served = chain.served().iter().map(report_pem::encode);
                json.add("served-certificate-chain", served.collect::<Vec<_>>());
                let validated = chain.certificates().chain(chain.anchor_certificate());
                let mut validated = validated.collect::<Vec<_>>();
                validated.dedup();
                let validated = validated.into_iter().map(report_pem::encode);
                json.add("validated-certificate-chain", validated.collect::<Vec<_>>());
                json.add("known-pins", known_pins());
            }
        }
    }
}

/// The details that reports contain, and additional fields.
///
/// ```
/// use pinhold::report::{ReportDetail, ReportForm};
///
/// let form = ReportForm::new()
///     .detail(ReportDetail::Fingerprints)
///     .field("app-version", "2.7.1")?;
/// assert!(form.field("hostname", "example.com").is_err());
/// # Ok::<(), pinhold::report::ReservedField>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ReportForm {
    detail: ReportDetail,
    fields: BTreeMap<String, String>,
}

impl ReportForm {
    /// Returns the form that RFC 7469 section 3 describes: full detail, no additional fields.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how much of the chains and pins reports contain. The default is [`ReportDetail::Full`].
    #[must_use]
    pub fn detail(mut self, detail: ReportDetail) -> Self {
        self.detail = detail;
        self
    }

    /// Adds a field whose value is a string. If a name is added twice, the last value is kept.
    ///
    /// # Errors
    ///
    /// [`ReservedField`] if reports use the name themselves, in any [`ReportDetail`]: a JSON object
    /// should have each name once.
    pub fn field(
        mut self,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, ReservedField> {
        let name = name.into();
        if RESERVED.contains(&&*name) {
            return Err(ReservedField { name });
        }
        self.fields.insert(name, value.into());
        Ok(self)
    }
}

/// The error of an additional field whose name reports use themselves.
///
/// ```
/// use pinhold::report::ReportForm;
///
/// let error = ReportForm::new().field("port", "443").unwrap_err();
/// assert_eq!(error.name, "port");
/// ```
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReservedField {
    /// The name.
    pub name: String,
}

impl fmt::Display for ReservedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        write!(
            f,
            "the field {name:?} is one of the report itself, expected another name"
        )
    }
}

impl fmt::Debug for ReservedField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_with_causes(self, f)
    }
}

impl Error for ReservedField {}

/// A JSON object whose fields keep the order in which they are added. `serde_json::Map` keeps it
/// only if some crate of the application enables a feature of `serde_json`.
#[derive(Default)]
struct JsonObject(String);

impl JsonObject {
    fn add(&mut self, name: &str, value: impl Into<Value>) {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&Value::from(name).to_string());
        self.0.push(':');
        self.0.push_str(&value.into().to_string());
    }

    /// Returns the text. At least one field must have been added.
    fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// The names of all fields of all [`ReportDetail`]s.
const RESERVED: [&str; 14] = [
    "date-time",
    "effective-expiration-date",
    "hostname",
    "include-subdomains",
    "known-pins",
    "noted-hostname",
    "pins",
    "port",
    "refused-keys",
    "served-certificate-chain",
    "served-certificates",
    "validated-certificate-chain",
    "validated-keys",
    "validated-pins",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_keep_their_order_and_are_escaped() {
        let mut json = JsonObject::default();
        json.add("b", "\"\\\n\u{1}\u{7f}");
        json.add("a\"", 1);
        json.add("list", vec!["x", "y"]);
        let expected = "{\"b\":\"\\\"\\\\\\n\\u0001\u{7f}\",\"a\\\"\":1,\"list\":[\"x\",\"y\"]}";
        assert_eq!(json.finish(), expected);
    }
}
