//! The CSV reports of CCADB, whose columns are found by their names: `AllCertificateRecordsCSVFormat`
//! (v4, V4a, V5) and `AllCAAIdentifiersReportCSVV2`.

use std::collections::{BTreeMap, BTreeSet};

/// What CCADB records of a certificate beyond its contents.
pub(crate) struct CertificateStatus {
    pub(crate) owner: String,
    pub(crate) is_revoked: bool,
}

/// Returns the status of each certificate by its SHA-256, in lower-case hexadecimal.
pub(crate) fn certificate_records(
    file: &[u8],
) -> Result<BTreeMap<String, CertificateStatus>, String> {
    let mut table = Table::new(file)?;
    let [owner, revocation, sha256] =
        table.columns(["CA Owner", "Revocation Status", "SHA-256 Fingerprint"])?;
    let mut found = BTreeMap::new();
    for row in table.rows() {
        let row = row.map_err(|error| error.to_string())?;
        let field = |index: usize| row.get(index).unwrap_or_default().trim();
        let status = CertificateStatus {
            owner: field(owner).to_owned(),
            // Roots have no status. "Parent Cert Revoked" is a revocation, too.
            is_revoked: !matches!(field(revocation), "" | "Not Revoked"),
        };
        found.insert(field(sha256).to_ascii_lowercase(), status);
    }
    Ok(found)
}

/// Returns the issuer domain names that the CAs of each organisation recognise, by the organisation in
/// the subject of their certificates.
pub(crate) fn caa_identifiers(file: &[u8]) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let mut table = Table::new(file)?;
    let [subject, domains] = table.columns(["Subject", "Recognized CAA Domains"])?;
    let mut found = BTreeMap::<_, BTreeSet<_>>::new();
    for row in table.rows() {
        let row = row.map_err(|error| error.to_string())?;
        let attributes = row.get(subject).unwrap_or_default().split("; ");
        let organization = attributes
            .filter_map(|it| it.trim().strip_prefix("O="))
            .next();
        let Some(organization) = organization else {
            continue;
        };
        let domains = row.get(domains).unwrap_or_default();
        let domains = domains.split(|char: char| char == ',' || char.is_whitespace());
        let domains = domains
            .map(str::to_ascii_lowercase)
            .filter(|it| is_domain(it));
        found
            .entry(organization.to_owned())
            .or_default()
            .extend(domains);
    }
    Ok(found)
}

/// Returns whether a word of the column is a domain name. Some CAs write sentences there.
fn is_domain(word: &str) -> bool {
    let is_label = |label: &str| {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty() && label.bytes().all(is_name)
    };
    word.contains('.') && word.split('.').all(is_label)
}

struct Table<'f>(csv::Reader<&'f [u8]>);

impl<'f> Table<'f> {
    fn new(file: &'f [u8]) -> Result<Self, String> {
        let file = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
        let reader = csv::ReaderBuilder::new().flexible(true).from_reader(file);
        Ok(Self(reader))
    }

    /// Returns the positions of columns.
    fn columns<const N: usize>(&mut self, names: [&str; N]) -> Result<[usize; N], String> {
        let header = self.0.headers().map_err(|error| error.to_string())?;
        let mut positions = [0; N];
        for (position, name) in positions.iter_mut().zip(names) {
            let found = header.iter().position(|column| column.trim() == name);
            *position = found.ok_or_else(|| format!("expected a column `{name}`"))?;
        }
        Ok(positions)
    }

    fn rows(self) -> csv::StringRecordsIntoIter<&'f [u8]> {
        self.0.into_records()
    }
}
