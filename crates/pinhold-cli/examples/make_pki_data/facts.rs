//! [`Facts`], the hand-kept file `facts.json`.

use serde_json::Value;

use crate::record::{Record, parse_date};

/// Facts that no list of certificates has.
pub(crate) struct Facts(Value);

impl Facts {
    pub(crate) fn read(file: &[u8]) -> Result<Self, String> {
        let value = serde_json::from_slice(file);
        value.map(Self).map_err(|error| error.to_string())
    }

    /// Returns a member that the snapshot has in the same form.
    pub(crate) fn member(&self, name: &str) -> Result<&Value, String> {
        let member = self.0.get(name);
        member.ok_or_else(|| format!("expected the member `{name}`"))
    }

    pub(crate) fn list(&self, name: &str) -> Result<&[Value], String> {
        let list = self.member(name)?.as_array().map(Vec::as_slice);
        list.ok_or_else(|| format!("{name}: expected a list"))
    }

    /// Returns the operator of a root, or of a CA of which CCADB's owner is recorded.
    pub(crate) fn operator_of(&self, record: &Record) -> Option<&str> {
        let operators = self.list("operators").ok()?;
        let lists = |operator: &Value, member: &str, text: &str| {
            let listed = operator.get(member).and_then(Value::as_array);
            let mut listed = listed.into_iter().flatten();
            listed.any(|value| value.as_str() == Some(text))
        };
        let rules: [(&str, &str); 3] = [
            ("roots", &record.name),
            ("owners", &record.owner),
            ("organizations", &record.organization),
        ];
        let mut found = rules.iter().filter(|(_, text)| !text.is_empty());
        found.find_map(|(member, text)| {
            let operator = operators.iter().find(|it| lists(it, member, text))?;
            operator.get("name")?.as_str()
        })
    }

    /// Returns the date at which Mozilla removes a root by the age of its key, for which the beginning
    /// of its validity is taken.
    pub(crate) fn leaves_mozilla(&self, root: &Record) -> Result<String, String> {
        let rule = self.member("mozilla_key_age")?;
        let created = parse_date(&root.from)?;
        for row in rule
            .get("table")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            if created < parse_date(text(row, "created_before")?)? {
                return Ok(text(row, "leaves")?.to_owned());
            }
        }
        let years = rule.get("years").and_then(Value::as_u64);
        let years = years.ok_or("mozilla_key_age: expected the number `years`")?;
        let (year, rest) = root.from.split_at_checked(4).ok_or("expected a date")?;
        let year = year.parse::<u64>().map_err(|error| error.to_string())?;
        let day = rest.get(..6).ok_or("expected a date")?;
        // The day after a leap day is the first that exists in each year.
        let day = if day == "-02-29" { "-03-01" } else { day };
        Ok(format!("{}{day}", year + years))
    }
}

/// Returns a text of an object.
pub(crate) fn text<'v>(object: &'v Value, name: &str) -> Result<&'v str, String> {
    let text = object.get(name).and_then(Value::as_str);
    text.ok_or_else(|| format!("{object}: expected the text `{name}`"))
}
