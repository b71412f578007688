//! [`History`], what is kept of the connections under one set of pins, as JSON text, and the rule by
//! which the counts of several processes are merged.

use crate::policy::SpkiFingerprint;
use crate::store::health_warning::{HealthWarning, WARNINGS};
use crate::store::line::Reader;

/// What connections have shown of one set of pins. Days are those since 1970, in UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// The first connection with these pins.
    pub(crate) since: Moment,
    /// The number of days with a connection.
    pub(crate) days: u64,
    /// The latest of these days, the highest first.
    pub(crate) recent: Vec<u64>,
    /// The last connection, in seconds since 1970; 0 if there was none.
    pub(crate) last: u64,
    /// The last connection that report-only pins would have refused, in seconds since 1970.
    pub(crate) last_failure: u64,
    /// The latest days on which each warning was emitted, the highest first.
    pub(crate) emitted: [Vec<u64>; WARNINGS],
    /// The pins that validated chains have contained.
    pub(crate) pins: Vec<Sighting>,
    pub(crate) versions: Vec<OfVersion>,
}

/// A day on which there was a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) day: u64,
    /// How many days with a connection there were, this one included. A clock that is set to a distant
    /// time, or an application that is not used, advances it by one at most.
    pub(crate) ordinal: u64,
}

/// A pin that a validated chain has contained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sighting {
    pub(crate) pin: SpkiFingerprint,
    pub(crate) first: Moment,
    pub(crate) last: Moment,
}

/// The counts of one version of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OfVersion {
    pub(crate) app_version: Box<str>,
    /// The last day with a connection.
    pub(crate) day: u64,
    pub(crate) counts: [u64; OUTCOMES],
}

/// What became of a connection under the pins, in the order of [`OfVersion::counts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Refused,
    WouldBeRefused,
    Skipped,
    CandidatePassed,
    CandidateWouldBeRefused,
}

pub(crate) const OUTCOMES: usize = 6;

impl History {
    /// Returns the moment of a connection on this day.
    pub(crate) fn now(&self, day: u64) -> Moment {
        let ordinal = self.days;
        Moment { day, ordinal }
    }

    /// Begins a day with a connection, unless it has begun. Returns whether it begins. Days that a
    /// clock has shown before it was set back become this day.
    pub(crate) fn begin_day(&mut self, day: u64) -> bool {
        self.since.day = self.since.day.min(day);
        for seen in &mut self.pins {
            seen.first.day = seen.first.day.min(day);
            seen.last.day = seen.last.day.min(day);
        }
        if self.recent.contains(&day) {
            return false;
        }
        self.days = self.days.saturating_add(1);
        insert(&mut self.recent, day, RECENT_DAYS);
        if self.since.ordinal == 0 {
            self.since = self.now(day);
        }
        true
    }

    /// Records that a validated chain contains a pin on this day, which has begun. Returns whether that
    /// is new.
    pub(crate) fn see(&mut self, pin: &SpkiFingerprint, day: u64) -> bool {
        let now = self.now(day);
        if let Some(known) = self.pins.iter_mut().find(|known| known.pin == *pin) {
            return std::mem::replace(&mut known.last, now) != now;
        }
        let (pin, first, last) = (*pin, now, now);
        self.pins.push(Sighting { pin, first, last });
        self.limit_pins();
        true
    }

    fn limit_pins(&mut self) {
        if self.pins.len() > MAX_PINS {
            self.pins
                .sort_by_key(|seen| std::cmp::Reverse(seen.last.ordinal));
            self.pins.truncate(MAX_PINS);
        }
    }

    pub(crate) fn seen(&self, pin: &SpkiFingerprint) -> Option<&Sighting> {
        self.pins.iter().find(|seen| seen.pin == *pin)
    }

    /// Counts a connection of this version.
    pub(crate) fn count(&mut self, app_version: &str, outcome: Outcome, day: u64) {
        let is_known = |known: &OfVersion| *known.app_version == *app_version;
        if !self.versions.iter().any(is_known) {
            self.limit_versions(MAX_VERSIONS - 1);
            let (app_version, counts) = (app_version.into(), [0; OUTCOMES]);
            self.versions.push(OfVersion {
                app_version,
                day,
                counts,
            });
        }
        let mut versions = self.versions.iter_mut();
        let Some(of_version) = versions.find(|known| *known.app_version == *app_version) else {
            return;
        };
        of_version.day = day;
        let [
            passed,
            refused,
            would_be,
            skipped,
            candidate_passed,
            candidate_would_be,
        ] = &mut of_version.counts;
        let count = match outcome {
            Outcome::Passed => passed,
            Outcome::Refused => refused,
            Outcome::WouldBeRefused => would_be,
            Outcome::Skipped => skipped,
            Outcome::CandidatePassed => candidate_passed,
            Outcome::CandidateWouldBeRefused => candidate_would_be,
        };
        *count = count.saturating_add(1);
    }

    /// Drops the versions that were not used for longest.
    fn limit_versions(&mut self, max: usize) {
        if self.versions.len() > max {
            self.versions.sort_by_key(|of| std::cmp::Reverse(of.day));
            self.versions.truncate(max);
        }
    }

    /// Returns the days on which a warning was emitted.
    pub(crate) fn emitted(&mut self, warning: HealthWarning) -> &mut Vec<u64> {
        let [never_seen, bypass, expires, last_pin, only_backup, stale] = &mut self.emitted;
        match warning {
            HealthWarning::BackupNeverSeen => never_seen,
            HealthWarning::BypassActive => bypass,
            HealthWarning::ExpiresSoon => expires,
            HealthWarning::LastPin => last_pin,
            HealthWarning::OnlyBackupMatches => only_backup,
            HealthWarning::Stale => stale,
        }
    }

    /// Returns the last day with a connection of any outcome.
    pub(crate) fn last_day(&self) -> u64 {
        let days = self.versions.iter().map(|of| of.day);
        days.max().unwrap_or_default()
    }
}

/// Inserts a number into some that are sorted, the highest first.
pub(crate) fn insert(sorted: &mut Vec<u64>, number: u64, max: usize) {
    let position = sorted.partition_point(|known| *known > number);
    if sorted.get(position) != Some(&number) {
        sorted.insert(position, number);
        sorted.truncate(max);
    }
}

/// Merging of what several processes record.
impl History {
    /// Returns `stored`, which another process has stored in place of `base`, with what this process
    /// has recorded since `base`.
    pub(crate) fn merged(base: &Self, own: &Self, stored: &Self) -> Self {
        let mut merged = stored.clone();
        let is_new = |day: &&u64| !base.recent.contains(day) && !stored.recent.contains(day);
        for day in own.recent.iter().filter(is_new) {
            merged.days = merged.days.saturating_add(1);
            insert(&mut merged.recent, *day, RECENT_DAYS);
        }
        merged.days = merged.days.max(own.days);
        merged.since = earlier(own.since, stored.since);
        merged.last = merged.last.max(own.last);
        merged.last_failure = merged.last_failure.max(own.last_failure);
        for (merged, own) in merged.emitted.iter_mut().zip(&own.emitted) {
            own.iter()
                .for_each(|day| insert(merged, *day, EMITTED_DAYS));
        }
        own.pins.iter().for_each(|seen| merged.merge_pin(seen));
        merged.limit_pins();
        own.versions.iter().for_each(|own| {
            let mut of_base = base.versions.iter();
            let of_base = of_base.find(|known| known.app_version == own.app_version);
            merged.merge_version(of_base, own);
        });
        merged.limit_versions(MAX_VERSIONS);
        merged
    }

    fn merge_pin(&mut self, own: &Sighting) {
        match self.pins.iter_mut().find(|known| known.pin == own.pin) {
            Some(known) => {
                known.first = earlier(known.first, own.first);
                if known.last.ordinal < own.last.ordinal {
                    known.last = own.last;
                }
            }
            None => self.pins.push(own.clone()),
        }
    }

    fn merge_version(&mut self, base: Option<&OfVersion>, own: &OfVersion) {
        let base = base.map_or([0; OUTCOMES], |base| base.counts);
        let mut versions = self.versions.iter_mut();
        let known = versions.find(|known| known.app_version == own.app_version);
        let Some(known) = known else {
            self.versions.push(own.clone());
            return;
        };
        known.day = known.day.max(own.day);
        let own = own.counts.iter().zip(base);
        for (count, (own, base)) in known.counts.iter_mut().zip(own) {
            *count = count.saturating_add(own.saturating_sub(base));
        }
    }
}

fn earlier(one: Moment, other: Moment) -> Moment {
    let is_set = |moment: Moment| moment.ordinal > 0;
    match (is_set(one), is_set(other)) {
        (true, true) if other.day < one.day => other,
        (false, true) => other,
        _ => one,
    }
}

/// The text of a record.
impl History {
    pub(crate) fn to_value(&self) -> String {
        let mut text = String::with_capacity(TYPICAL_VALUE);
        text.push_str(SINCE);
        print_list(&mut text, &[self.since.day, self.since.ordinal]);
        text.extend([DAYS, &self.days.to_string(), RECENT]);
        print_list(&mut text, &self.recent);
        text.push_str(LAST);
        print_list(&mut text, &[self.last, self.last_failure]);
        text.push_str(EMITTED);
        print_each(&mut text, &self.emitted, |text, days| {
            print_list(text, days)
        });
        text.push_str(PINS);
        print_each(
            &mut text,
            &self.pins,
            |text, Sighting { pin, first, last }| {
                let moments = [first.day, first.ordinal, last.day, last.ordinal];
                print_entry(text, &pin.to_base64(), &moments);
            },
        );
        text.push_str(VERSIONS);
        print_each(&mut text, &self.versions, |text, of| {
            let mut numbers = vec![of.day];
            numbers.extend(of.counts);
            print_entry(text, &of.app_version, &numbers);
        });
        text.push('}');
        text
    }

    /// Parses what [`to_value`](Self::to_value) returns. A text with more than is ever kept is refused.
    pub(crate) fn of_value(value: &str) -> Option<Self> {
        let mut value = Reader::new(value);
        value.literal(SINCE)?;
        let [day, ordinal] = numbers(&mut value)?;
        value.literal(DAYS)?;
        let days = value.number()?;
        value.literal(RECENT)?;
        let recent = list(&mut value, RECENT_DAYS, Reader::number)?;
        value.literal(LAST)?;
        let [last, last_failure] = numbers(&mut value)?;
        value.literal(EMITTED)?;
        let days_of = |value: &mut Reader<'_>| list(value, EMITTED_DAYS, Reader::number);
        let emitted = list(&mut value, WARNINGS, days_of)?;
        value.literal(PINS)?;
        let pins = list(&mut value, MAX_PINS, seen)?;
        value.literal(VERSIONS)?;
        let versions = list(&mut value, MAX_VERSIONS, of_version)?;
        value.literal("}")?;
        let history = Self {
            since: Moment { day, ordinal },
            days,
            recent,
            last,
            last_failure,
            emitted: emitted.try_into().ok()?,
            pins,
            versions,
        };
        (value.is_at_end() && history.is_possible()).then_some(history)
    }

    /// Returns whether the order of the days is one that this version stores.
    fn is_possible(&self) -> bool {
        let is_sorted = |days: &Vec<u64>| days.is_sorted_by(|one, other| one > other);
        let of_pins = |seen: &Sighting| seen.last.ordinal <= self.days && seen.first.ordinal > 0;
        is_sorted(&self.recent)
            && self.emitted.iter().all(is_sorted)
            && self.pins.iter().all(of_pins)
            && self.days < MAX_DAYS
    }
}

fn seen(value: &mut Reader<'_>) -> Option<Sighting> {
    let pin = entry(value)?;
    let [day, ordinal, last_day, last_ordinal] = rest(value)?;
    Some(Sighting {
        pin: SpkiFingerprint::from_base64(pin.as_bytes()).ok()?,
        first: Moment { day, ordinal },
        last: Moment {
            day: last_day,
            ordinal: last_ordinal,
        },
    })
}

fn of_version(value: &mut Reader<'_>) -> Option<OfVersion> {
    let app_version = entry(value)?;
    let [day, counts @ ..] = rest::<{ 1 + OUTCOMES }>(value)?;
    is_app_version(app_version).then(|| OfVersion {
        app_version: app_version.into(),
        day,
        counts,
    })
}

/// Returns whether the text can be a version of an application: up to 64 printable ASCII characters
/// without quotation marks and backslashes, which need no escape in JSON, in Prometheus's text and in
/// a record.
pub(crate) fn is_app_version(text: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    matches!(text.len(), 1..=64) && text.bytes().all(is_plain)
}

/// Appends `["name",1,2]`.
fn print_entry(text: &mut String, name: &str, numbers: &[u64]) {
    text.extend(["[\"", name, "\""]);
    for number in numbers {
        text.extend([",", &number.to_string()]);
    }
    text.push(']');
}

fn print_list(text: &mut String, numbers: &[u64]) {
    print_each(text, numbers, |text, number| {
        text.push_str(&number.to_string())
    });
}

fn print_each<T>(text: &mut String, items: &[T], print: impl Fn(&mut String, &T)) {
    text.push('[');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        print(text, item);
    }
    text.push(']');
}

/// Reads the name of what [`print_entry`] prints.
fn entry<'a>(value: &mut Reader<'a>) -> Option<&'a str> {
    value.literal("[\"")?;
    value.until_quote()
}

/// Reads the numbers of what [`print_entry`] prints.
fn rest<const COUNT: usize>(value: &mut Reader<'_>) -> Option<[u64; COUNT]> {
    let mut numbers = [0; COUNT];
    for number in &mut numbers {
        value.literal(",")?;
        *number = value.number()?;
    }
    value.literal("]")?;
    Some(numbers)
}

fn numbers<const COUNT: usize>(value: &mut Reader<'_>) -> Option<[u64; COUNT]> {
    list(value, COUNT, Reader::number)?.try_into().ok()
}

fn list<'a, T>(
    value: &mut Reader<'a>,
    max: usize,
    item: impl Fn(&mut Reader<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    value.literal("[")?;
    let mut items = Vec::new();
    if value.literal("]").is_some() {
        return Some(items);
    }
    while items.len() < max {
        items.push(item(value)?);
        if value.literal("]").is_some() {
            return Some(items);
        }
        value.literal(",")?;
    }
    None
}

/// The text before each part.
const SINCE: &str = r#"{"since":"#;
const DAYS: &str = r#","days":"#;
const RECENT: &str = r#","recent":"#;
const LAST: &str = r#","last":"#;
const EMITTED: &str = r#","emitted":"#;
const PINS: &str = r#","pins":"#;
const VERSIONS: &str = r#","versions":"#;
/// The bytes of a text with two pins and one version.
const TYPICAL_VALUE: usize = 320;
/// The limit of days that are kept to know whether one is new: a clock that is set back and forth
/// between as many days begins no further one.
const RECENT_DAYS: usize = 7;
/// The limit of days that are kept for each warning: it is emitted once on each of them.
pub(crate) const EMITTED_DAYS: usize = 4;
/// The limit of pins of one set that are kept: as many as a header may have.
const MAX_PINS: usize = 64;
/// The limit of versions of the application: those that were used last are kept. With it and with the
/// limit of pins a value has less than 8 KiB.
const MAX_VERSIONS: usize = 8;
/// The limit of days of a record that is read, so that no sum overflows: a million years.
const MAX_DAYS: u64 = 365_000_000;
