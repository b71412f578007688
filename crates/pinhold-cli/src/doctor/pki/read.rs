//! Parsing of the file of facts about CAs (`data/pki.json`, `--pki-data`).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use pinhold::SpkiFingerprint;
use serde_json::Value;

use crate::doctor::forecast::Certainty;
use crate::doctor::pki::member::{Member, Object};
use crate::doctor::pki::{
    CaCertificate, CaEvent, CaEventKind, CaKey, CaKind, Lifetime, Operator, PkiData, ProgrammeDate,
    RootProgramme, Service, Statement,
};

/// Parses a file; the error names the place and what is expected there.
pub(super) fn parse(json: &[u8], source: &str) -> Result<PkiData, String> {
    let value = serde_json::from_slice::<Value>(json);
    let value = value.map_err(|error| format!("expected JSON: {error}"))?;
    let file = Member::root(&value).object(MEMBERS)?;
    let format = file.get("format")?;
    if format.number()? != FORMAT {
        return Err(format.error(&format!("expected format {FORMAT}")));
    }
    for name in ["attribution", "not_available"] {
        for text in file.get(name)?.list()? {
            text.text()?;
        }
    }
    let mut reader = Reader {
        statements: statements(&file.get("statements")?)?,
        rotates: HashMap::new(),
        data: PkiData {
            date: file.get("date")?.date()?,
            source: source.to_owned(),
            operators: Vec::new(),
            by_key: HashMap::new(),
            lifetimes: Vec::new(),
            programme_dates: Vec::new(),
            services: Vec::new(),
        },
    };
    reader.add_operators(&file.get("operators")?)?;
    reader.add_roots(&file.get("roots")?)?;
    reader.add_intermediates(&file.get("intermediates")?)?;
    reader.add_events(&file.get("events")?)?;
    reader.add_general_facts(&file)?;
    Ok(reader.data)
}

/// What has been read of a file.
struct Reader<'v> {
    statements: HashMap<&'v str, Statement>,
    /// Why an operator may replace its intermediates, by operator.
    rotates: HashMap<&'v str, Statement>,
    data: PkiData,
}

impl<'v> Reader<'v> {
    fn add_operators(&mut self, operators: &Member<'v>) -> Result<(), String> {
        for operator in operators.list()? {
            let members = operator.object(&["name", "caa", "rotates"])?;
            let name = members.get("name")?.text()?;
            if self.operator(name).is_some() {
                return Err(operator.error(&format!("the operator {name} is listed twice")));
            }
            let caa = members
                .get("caa")?
                .list()?
                .map(|domain| caa_domain(&domain));
            let caa = caa.collect::<Result<_, _>>()?;
            if let Some(rotates) = members.optional("rotates") {
                self.rotates.insert(name, self.statement(&rotates)?);
            }
            let name = name.to_owned();
            self.data.operators.push(Operator { name, caa });
        }
        Ok(())
    }

    fn operator(&self, name: &str) -> Option<&Operator> {
        let mut operators = self.data.operators.iter();
        operators.find(|operator| operator.name == name)
    }

    /// Returns the name of an operator that is in the list.
    fn operator_name(&self, members: &Object<'v>) -> Result<&'v str, String> {
        let member = members.get("operator")?;
        let name = member.text()?;
        match self.operator(name) {
            Some(_) => Ok(name),
            None => Err(member.error(&format!("{name} is not in the list `operators`"))),
        }
    }

    fn statement(&self, member: &Member<'v>) -> Result<Statement, String> {
        let statement = self.statements.get(member.text()?).cloned();
        statement.ok_or_else(|| member.error("expected the id of one of the list `statements`"))
    }

    fn add_roots(&mut self, roots: &Member<'v>) -> Result<(), String> {
        for root in roots.list()? {
            let names = ["key", "name", "operator", "stores", "certificates"];
            let members = root.object(&names)?;
            let key = members.get("key")?.key()?;
            let stores = members.get("stores")?;
            let stores = stores.list()?.map(|store| store.word(PROGRAMMES));
            let mut entry = CaKey {
                name: members.get("name")?.text()?.to_owned(),
                operator: self.operator_name(&members)?.to_owned(),
                kind: CaKind::Root,
                stores: stores.collect::<Result<_, _>>()?,
                certificates: Vec::new(),
                events: Vec::new(),
                rotates: None,
            };
            for certificate in members.get("certificates")?.list()? {
                let [from, until] = certificate.tuple("[from, until]")?;
                add_certificate(&mut entry, Some(key), &from, &until)?;
            }
            if self.data.by_key.insert(key, entry).is_some() {
                return Err(root.error("a root with the same key is listed before it"));
            }
        }
        Ok(())
    }

    /// Adds the certificates of each issuer. Those of a key that is a root, too, are cross-signs.
    fn add_intermediates(&mut self, issuers: &Member<'v>) -> Result<(), String> {
        for issuer in issuers.list()? {
            let members = issuer.object(&["issuer", "operator", "certificates"])?;
            let operator = self.operator_name(&members)?;
            let key = members.optional("issuer").map(|issuer| issuer.key());
            let key = key.transpose()?;
            for certificate in members.get("certificates")?.list()? {
                self.add_intermediate(&certificate, operator, key)?;
            }
        }
        Ok(())
    }

    fn add_intermediate(
        &mut self,
        certificate: &Member<'v>,
        operator: &str,
        issuer: Option<SpkiFingerprint>,
    ) -> Result<(), String> {
        let [key, name, from, until] = certificate.tuple("[key, name, from, until]")?;
        let name = name.text()?;
        let entry = match self.data.by_key.entry(key.key()?) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(CaKey {
                name: name.to_owned(),
                operator: operator.to_owned(),
                kind: CaKind::Intermediate,
                stores: Vec::new(),
                certificates: Vec::new(),
                events: Vec::new(),
                rotates: self.rotates.get(operator).cloned(),
            }),
        };
        if entry.operator != operator {
            let other = &entry.operator;
            return Err(certificate.error(&format!("the same key is listed for {other} before")));
        }
        add_certificate(entry, issuer, &from, &until)
    }

    fn add_events(&mut self, events: &Member<'v>) -> Result<(), String> {
        for event in events.list()? {
            let members = event.object(&["at", "key", "kind", "certainty", "statement"])?;
            let statement = self.statement(&members.get("statement")?)?;
            let key = members.get("key")?;
            let Some(entry) = self.data.by_key.get_mut(&key.key()?) else {
                return Err(key.error("neither a root nor an intermediate has this key"));
            };
            entry.events.push(CaEvent {
                at: members.get("at")?.date()?,
                kind: members.get("kind")?.word(EVENTS)?,
                certainty: members.get("certainty")?.word(CERTAINTIES)?,
                statement,
            });
        }
        for entry in self.data.by_key.values_mut() {
            entry.events.sort_by_key(|event| event.at);
        }
        Ok(())
    }

    /// Adds what concerns no single key.
    fn add_general_facts(&mut self, file: &Object<'v>) -> Result<(), String> {
        for lifetime in file.get("lifetimes")?.list()? {
            let members = lifetime.object(&["from", "days", "statement"])?;
            self.data.lifetimes.push(Lifetime {
                from: members.get("from")?.date()?,
                days: members.get("days")?.number()?,
                statement: self.statement(&members.get("statement")?)?,
            });
        }
        for date in file.get("programme_dates")?.list()? {
            let members = date.object(&["at", "statement"])?;
            self.data.programme_dates.push(ProgrammeDate {
                at: members.get("at")?.date()?,
                statement: self.statement(&members.get("statement")?)?,
            });
        }
        for service in file.get("services")?.list()? {
            let members = service.object(&["name", "statement"])?;
            self.data.services.push(Service {
                name: members.get("name")?.text()?.to_owned(),
                statement: self.statement(&members.get("statement")?)?,
            });
        }
        self.data.lifetimes.sort_by_key(|lifetime| lifetime.from);
        self.data.programme_dates.sort_by_key(|date| date.at);
        Ok(())
    }
}

fn statements<'v>(list: &Member<'v>) -> Result<HashMap<&'v str, Statement>, String> {
    let mut statements = HashMap::new();
    for statement in list.list()? {
        let members = statement.object(&["id", "text", "source", "published"])?;
        let read = Statement {
            text: members.get("text")?.text()?.to_owned(),
            source: members.get("source")?.text()?.to_owned(),
            published: members.get("published")?.date()?,
        };
        if statements
            .insert(members.get("id")?.text()?, read)
            .is_some()
        {
            return Err(statement.error("a statement with the same `id` is listed before it"));
        }
    }
    Ok(statements)
}

/// Returns an issuer domain name in the form in which CAA records are compared.
fn caa_domain(member: &Member<'_>) -> Result<String, String> {
    let domain = member.text()?;
    let is_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
    if !domain.bytes().all(is_name) {
        return Err(member.error("expected a domain name in lower case"));
    }
    Ok(domain.to_owned())
}

fn add_certificate(
    entry: &mut CaKey,
    issuer: Option<SpkiFingerprint>,
    from: &Member<'_>,
    until: &Member<'_>,
) -> Result<(), String> {
    let (not_before, not_after) = (from.date()?, until.date()?);
    if not_after < not_before {
        return Err(until.error("expected a date that is not before the one in front of it"));
    }
    let period = |it: &CaCertificate| (it.issuer, it.not_before, it.not_after);
    let new = (issuer, not_before, not_after);
    if entry.certificates.iter().any(|other| period(other) == new) {
        return Err(from.error("the same certificate is listed before"));
    }
    entry.certificates.push(CaCertificate {
        issuer,
        not_before,
        not_after,
    });
    Ok(())
}

/// The version of the format. One that this program would misread has another.
const FORMAT: u64 = 1;

const MEMBERS: &[&str] = &[
    "format",
    "date",
    "attribution",
    "not_available",
    "statements",
    "operators",
    "roots",
    "intermediates",
    "events",
    "lifetimes",
    "programme_dates",
    "services",
];

const PROGRAMMES: &[(&str, RootProgramme)] = &[
    ("chrome", RootProgramme::Chrome),
    ("mozilla", RootProgramme::Mozilla),
];

const EVENTS: &[(&str, CaEventKind)] = &[
    ("chrome-sct-not-after", CaEventKind::ChromeSctNotAfter),
    ("cross-sign-ends", CaEventKind::CrossSignEnds),
    ("leaves-chrome", CaEventKind::LeavesChrome),
    ("leaves-mozilla", CaEventKind::LeavesMozilla),
    ("replaced", CaEventKind::Replaced),
];

const CERTAINTIES: &[(&str, Certainty)] = &[
    ("certain", Certainty::Certain),
    ("announced", Certainty::Announced),
    ("risk", Certainty::Risk),
];
