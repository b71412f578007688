//! [`Record`], the facts of one CA certificate, and the file `certificates.csv` that keeps them.

use std::fmt::Display;

use x509_cert::der::DateTime;

/// The facts of a CA certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Record {
    pub(crate) name: String,
    /// SHA-256 of the certificate, in hexadecimal.
    pub(crate) sha256: String,
    /// SHA-256 of its public key, in base64.
    pub(crate) key: String,
    /// The same of its issuer; empty if no certificate of the issuer was given.
    pub(crate) issuer: String,
    pub(crate) organization: String,
    pub(crate) unit: String,
    pub(crate) from: String,
    pub(crate) until: String,
    /// The owner of the CA as CCADB names it; empty if CCADB's records were not given.
    pub(crate) owner: String,
}

impl Record {
    pub(crate) fn is_self_signed(&self) -> bool {
        self.key == self.issuer
    }
}

/// Returns the file of these records, sorted.
pub(crate) fn write(mut records: Vec<Record>) -> Result<Vec<u8>, String> {
    records.sort();
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS).map_err(text)?;
    for record in records {
        let fields = [
            record.sha256,
            record.key,
            record.issuer,
            record.name,
            record.organization,
            record.unit,
            record.from,
            record.until,
            record.owner,
        ];
        writer.write_record(fields).map_err(text)?;
    }
    writer.into_inner().map_err(text)
}

/// Reads the file that [`write`] returns.
pub(crate) fn read(file: &[u8]) -> Result<Vec<Record>, String> {
    let mut reader = csv::Reader::from_reader(file);
    if reader.headers().map_err(text)? != COLUMNS.as_slice() {
        return Err(format!("expected the columns {}", COLUMNS.join(",")));
    }
    let mut records = Vec::new();
    for row in reader.into_records() {
        let row = row.map_err(text)?;
        let field = |index| row.get(index).unwrap_or_default().to_owned();
        records.push(Record {
            sha256: field(0),
            key: field(1),
            issuer: field(2),
            name: field(3),
            organization: field(4),
            unit: field(5),
            from: field(6),
            until: field(7),
            owner: field(8),
        });
    }
    Ok(records)
}

/// Returns a time as a date if it is the beginning of a day, and as RFC 3339 text otherwise.
pub(crate) fn date_text(time: DateTime) -> String {
    let text = time.to_string();
    let date = text.strip_suffix("T00:00:00Z");
    date.map_or_else(|| text.clone(), str::to_owned)
}

/// Parses a date, or a time, of the form that [`date_text`] returns.
pub(crate) fn parse_date(text: &str) -> Result<DateTime, String> {
    let time = format!("{text}T00:00:00Z").parse::<DateTime>();
    let time = time.or_else(|_| text.parse());
    time.map_err(|_| format!("{text}: expected a date as in 2027-06-30"))
}

fn text(error: impl Display) -> String {
    error.to_string()
}

const COLUMNS: [&str; 9] = [
    "sha256",
    "key",
    "issuer_key",
    "name",
    "organization",
    "unit",
    "from",
    "until",
    "owner",
];
