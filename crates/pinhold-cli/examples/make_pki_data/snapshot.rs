//! The command `snapshot`: the file `pki.json` from records of certificates and hand-kept facts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use x509_cert::der::DateTime;

use crate::chrome::ChromeRoots;
use crate::facts::{Facts, text};
use crate::record::{Record, date_text, parse_date};

/// The inputs of a snapshot.
pub(crate) struct Inputs<'i> {
    /// All records, those of `mozilla` among them.
    pub(crate) records: &'i [Record],
    /// The SHA-256 of the roots in Mozilla's list.
    pub(crate) mozilla: &'i BTreeSet<String>,
    pub(crate) chrome: &'i ChromeRoots,
    pub(crate) facts: &'i Facts,
    /// Issuer domain names by organisation, from CCADB.
    pub(crate) caa: &'i BTreeMap<String, BTreeSet<String>>,
}

/// Returns the file.
pub(crate) fn write(inputs: &Inputs<'_>) -> Result<String, String> {
    let keys = Keys::new(inputs)?;
    let facts = inputs.facts;
    let sections = [
        ("format", vec![json!(1)]),
        ("date", vec![facts.member("date")?.clone()]),
        ("attribution", facts.list("attribution")?.to_vec()),
        ("not_available", facts.list("not_available")?.to_vec()),
        ("statements", facts.list("statements")?.to_vec()),
        ("programme_dates", facts.list("programme_dates")?.to_vec()),
        ("lifetimes", facts.list("lifetimes")?.to_vec()),
        ("services", facts.list("services")?.to_vec()),
        ("operators", operators(inputs)?),
        ("events", events(inputs, &keys)?),
        ("roots", keys.roots(inputs)),
    ];
    let mut file = "{\n".to_owned();
    for (name, values) in sections {
        let lines = values.iter().map(Value::to_string).collect::<Vec<_>>();
        file += &match name {
            "format" | "date" => format!("\"{name}\": {},\n", lines.concat()),
            _ => format!("\"{name}\": [\n{}\n],\n", lines.join(",\n")),
        };
    }
    Ok(format!(
        "{file}\"intermediates\": [\n{}\n]\n}}\n",
        keys.intermediates()
    ))
}

/// Returns the operators with the issuer domain names of the facts and of CCADB.
fn operators(inputs: &Inputs<'_>) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    for operator in inputs.facts.list("operators")? {
        let list = |name| {
            operator
                .get(name)
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
        };
        let texts = |name| list(name).filter_map(Value::as_str);
        let mut caa = texts("caa").map(str::to_owned).collect::<BTreeSet<_>>();
        for organization in texts("organizations") {
            caa.extend(inputs.caa.get(organization).into_iter().flatten().cloned());
        }
        let mut entry = json!({ "name": text(operator, "name")?, "caa": caa });
        if let (Some(rotates), Value::Object(members)) = (operator.get("rotates"), &mut entry) {
            members.insert("rotates".to_owned(), rotates.clone());
        }
        found.push((text(operator, "name")?.to_lowercase(), entry));
    }
    found.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found.into_iter().map(|(_, entry)| entry).collect())
}

/// The keys of the records, and their operators.
struct Keys<'i> {
    records: Vec<&'i Record>,
    roots: BTreeSet<&'i str>,
    operators: BTreeMap<&'i str, String>,
}

impl<'i> Keys<'i> {
    fn new(inputs: &Inputs<'i>) -> Result<Self, String> {
        let mut records = inputs.records.iter().collect::<Vec<_>>();
        // The newest first, so that it decides which operator has a key that several signed.
        records.sort_by(|a, b| (&b.from, &a.sha256).cmp(&(&a.from, &b.sha256)));
        let mut operators = BTreeMap::new();
        let mut roots = BTreeSet::new();
        for root in records.iter().filter(|it| it.is_self_signed()) {
            roots.insert(root.key.as_str());
            let operator = inputs.facts.operator_of(root);
            let operator = operator.ok_or_else(|| {
                let Record {
                    name, organization, ..
                } = root;
                format!("no operator of the facts has the root {name} of {organization}")
            })?;
            operators.insert(root.key.as_str(), operator.to_owned());
        }
        loop {
            let before = operators.len();
            for record in &records {
                let known = inputs
                    .facts
                    .operator_of(record)
                    .filter(|_| !record.owner.is_empty());
                let known = known.map(str::to_owned);
                let operator = known.or_else(|| operators.get(record.issuer.as_str()).cloned());
                if let Some(operator) = operator {
                    operators.entry(&record.key).or_insert(operator);
                }
            }
            if operators.len() == before {
                return Ok(Self {
                    records,
                    roots,
                    operators,
                });
            }
        }
    }

    fn operator(&self, key: &str) -> &str {
        self.operators.get(key).map_or("", String::as_str)
    }

    /// Returns a line for each key that has signed itself.
    fn roots(&self, inputs: &Inputs<'_>) -> Vec<Value> {
        let mut lines = BTreeMap::new();
        for key in &self.roots {
            let own = self
                .records
                .iter()
                .filter(|it| it.key == **key && it.is_self_signed());
            let own = own.collect::<Vec<_>>();
            let Some(newest) = own.first() else {
                continue;
            };
            let is_listed = |list: &dyn Fn(&str) -> bool| own.iter().any(|it| list(&it.sha256));
            let in_chrome = |sha256: &str| {
                let anchor = inputs.chrome.anchors.get(sha256);
                anchor.is_some_and(|anchor| anchor.is_root)
            };
            let in_mozilla = |sha256: &str| inputs.mozilla.contains(sha256);
            let stores: [(&str, bool); 2] = [
                ("chrome", is_listed(&in_chrome)),
                ("mozilla", is_listed(&in_mozilla)),
            ];
            let stores = stores.iter().filter(|(_, is_listed)| *is_listed);
            let stores = stores.map(|(name, _)| name).collect::<Vec<_>>();
            let periods = own.iter().map(|it| [&it.from, &it.until]);
            let line = json!({
                "key": key,
                "name": newest.name,
                "operator": self.operator(key),
                "stores": stores,
                "certificates": periods.collect::<BTreeSet<_>>(),
            });
            lines.insert(
                (self.operator(key).to_lowercase(), &newest.name, *key),
                line,
            );
        }
        lines.into_values().collect()
    }

    /// Returns the other certificates, grouped by their issuers.
    fn intermediates(&self) -> String {
        let mut groups = BTreeMap::<_, BTreeSet<_>>::new();
        for record in self.records.iter().filter(|it| !it.is_self_signed()) {
            let Record {
                key,
                name,
                from,
                until,
                ..
            } = record;
            let operator = self.operator(key);
            let group = groups.entry((operator.to_lowercase(), operator, &record.issuer));
            group.or_default().insert((name, key, from, until));
        }
        let groups = groups
            .into_iter()
            .map(|((_, operator, issuer), certificates)| {
                let lines = certificates.into_iter();
                let lines = lines.map(|(name, key, from, until)| json!([key, name, from, until]));
                let lines = lines.map(|line| line.to_string()).collect::<Vec<_>>();
                let (operator, issuer) = (json!(operator), json!(issuer));
                let lines = lines.join(",\n");
                format!(
                    "{{\"operator\":{operator},\"issuer\":{issuer},\"certificates\":[\n{lines}]}}"
                )
            });
        groups.collect::<Vec<_>>().join(",\n")
    }

    /// Returns the keys of an operator with this name.
    fn named(&self, operator: &str, name: &str) -> BTreeSet<&'i str> {
        let named = self.records.iter().filter(|it| it.name == name);
        let named = named.filter(|it| self.operator(&it.key) == operator);
        named.map(|it| it.key.as_str()).collect()
    }
}

/// Returns what happens to keys, by date.
fn events(inputs: &Inputs<'_>, keys: &Keys<'_>) -> Result<Vec<Value>, String> {
    let mut events = BTreeSet::new();
    add_programmes(&mut events, inputs)?;
    add_removed(&mut events, inputs)?;
    add_named(&mut events, inputs.facts, keys)?;
    let line = |event: Event| {
        let [at, kind, key, certainty, statement] = event;
        json!({
            "at": at,
            "kind": kind,
            "key": key,
            "certainty": certainty,
            "statement": statement,
        })
    };
    Ok(events.into_iter().map(line).collect())
}

/// Adds the dates at which Mozilla and Chrome end their trust in roots by their rules.
fn add_programmes(events: &mut BTreeSet<Event>, inputs: &Inputs<'_>) -> Result<(), String> {
    let facts = inputs.facts;
    let mozilla = text(facts.member("mozilla_key_age")?, "statement")?;
    let chrome = facts.member("chrome_root_store")?;
    if chrome.get("version").and_then(Value::as_u64) != Some(inputs.chrome.version) {
        let version = inputs.chrome.version;
        return Err(format!(
            "chrome_root_store: expected version {version}, that of the file"
        ));
    }
    let chrome = text(chrome, "statement")?;
    for root in inputs.records {
        if inputs.mozilla.contains(&root.sha256) {
            let at = facts.leaves_mozilla(root)?;
            if parse_date(&at)? < parse_date(&root.until)? {
                events.insert(event(
                    &at,
                    "leaves-mozilla",
                    &root.key,
                    "announced",
                    mozilla,
                ));
            }
        }
        let anchor = inputs.chrome.anchors.get(&root.sha256);
        if let Some(seconds) = anchor.and_then(|anchor| anchor.sct_not_after) {
            let at = DateTime::from_unix_duration(Duration::from_secs(seconds));
            let at = date_text(at.map_err(|error| error.to_string())?);
            let kind = "chrome-sct-not-after";
            events.insert(event(&at, kind, &root.key, "announced", chrome));
        }
    }
    Ok(())
}

/// Adds the roots that Mozilla removed.
fn add_removed(events: &mut BTreeSet<Event>, inputs: &Inputs<'_>) -> Result<(), String> {
    for removed in inputs.facts.list("removed_roots")? {
        let sha256 = text(removed, "sha256")?;
        let root = inputs.records.iter().find(|it| it.sha256 == sha256);
        let root = root.ok_or_else(|| format!("{removed}: no certificate has this SHA-256"))?;
        let (at, statement) = (text(removed, "left")?, text(removed, "statement")?);
        events.insert(event(
            at,
            "leaves-mozilla",
            &root.key,
            "announced",
            statement,
        ));
    }
    Ok(())
}

/// Adds the events of the facts, which give keys by their names.
fn add_named(events: &mut BTreeSet<Event>, facts: &Facts, keys: &Keys<'_>) -> Result<(), String> {
    for fact in facts.list("events")? {
        let names = fact.get("names").and_then(Value::as_array);
        for name in names.into_iter().flatten().filter_map(Value::as_str) {
            let named = keys.named(text(fact, "operator")?, name);
            if named.is_empty() {
                return Err(format!("{fact}: no key has the name {name}"));
            }
            for key in named {
                let [at, kind] = [text(fact, "at")?, text(fact, "kind")?];
                let [certainty, statement] = [text(fact, "certainty")?, text(fact, "statement")?];
                events.insert(event(at, kind, key, certainty, statement));
            }
        }
    }
    Ok(())
}

/// Date, kind, key, certainty and statement, in the order by which events are sorted.
type Event = [String; 5];

fn event(at: &str, kind: &str, key: &str, certainty: &str, statement: &str) -> Event {
    [at, kind, key, certainty, statement].map(str::to_owned)
}
