//! Tree climbing (RFC 8659 section 3): the records that apply to a name are those of the closest domain
//! that has any.

use std::collections::{BTreeSet, HashMap};

use crate::doctor::caa::client::Client;
use crate::doctor::observation::Caa;
use crate::doctor::tasks;

/// What is known of the domains that were queried; `None` for one without records.
type Known = HashMap<String, Option<Caa>>;

/// Returns the records that apply to each name. Each domain is queried once.
pub(super) async fn all(names: Vec<String>, client: &Client) -> Vec<Caa> {
    let mut known = Known::new();
    loop {
        let steps = names.iter().map(|name| step(&known, name));
        let mut unknown = BTreeSet::new();
        let mut found = Vec::new();
        for step in steps {
            match step {
                Step::Query(domain) => {
                    unknown.insert(domain.to_owned());
                }
                Step::Found(caa) => found.push(caa),
            }
        }
        if unknown.is_empty() {
            return found;
        }
        let queries = unknown.iter().map(|domain| client.query(domain.clone()));
        let answers = tasks::run(queries.collect(), |_| {}).await;
        let failed = || Some(Caa::Failed("the query ended with an error".to_owned()));
        let answers = answers.into_iter().map(|it| it.unwrap_or_else(failed));
        known.extend(unknown.into_iter().zip(answers));
    }
}

enum Step<'a> {
    Found(Caa),
    Query(&'a str),
}

/// Climbs from a name to the first domain with records, or that is not known yet.
fn step<'a>(known: &Known, name: &'a str) -> Step<'a> {
    if name.split('.').count() > MAX_LABELS {
        let reason = format!("the name has more than {MAX_LABELS} labels");
        return Step::Found(Caa::Failed(reason));
    }
    let mut domain = name;
    loop {
        match known.get(domain) {
            Some(Some(caa)) => return Step::Found(caa.clone()),
            Some(None) => {}
            None => return Step::Query(domain),
        }
        // The root itself is not queried.
        match domain.split_once('.') {
            Some((_, parent)) => domain = parent,
            None => return Step::Found(Caa::Absent),
        }
    }
}

/// The number of queries for one name.
const MAX_LABELS: usize = 16;
