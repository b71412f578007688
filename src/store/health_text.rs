//! The JSON text of a [`History`], the value of a health record.

use crate::policy::SpkiFingerprint;
use crate::store::health_history::{
    EMITTED_DAYS, History, MAX_PINS, MAX_VERSIONS, Moment, OUTCOMES, OfVersion, RECENT_DAYS,
    Sighting,
};
use crate::store::health_warning::WARNINGS;
use crate::store::line::Reader;

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
/// The limit of days of a record that is read, so that no sum overflows: a million years.
const MAX_DAYS: u64 = 365_000_000;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::health_history::{Outcome, insert};
    use crate::store::health_warning::HealthWarning;

    fn pin(number: u8) -> SpkiFingerprint {
        SpkiFingerprint::from_digest([number; 32])
    }

    /// A file that this version has written is read by every later one.
    #[test]
    fn the_text_of_a_record_is_as_written_here() {
        let mut history = History::default();
        for day in 10..13 {
            history.begin_day(day);
            history.see(&pin(1), day);
            history.count("1.0", Outcome::Passed, day);
            history.count("1.0", Outcome::Refused, day);
        }
        history.last = 12 * 86400;
        insert(history.emitted(HealthWarning::LastPin), 11, EMITTED_DAYS);
        let text = r#"{"since":[10,1],"days":3,"recent":[12,11,10],"last":[1036800,0],"emitted":[[],[],[],[11],[],[]],"pins":[["AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",10,1,12,3]],"versions":[["1.0",12,3,3,0,0,0,0]]}"#;
        assert_eq!(history.to_value(), text);
        assert_eq!(History::of_value(text), Some(history));
        for cut in 0..text.len() {
            assert_eq!(History::of_value(&text[..cut]), None, "{cut}");
        }
        assert_eq!(History::of_value(&format!("{text} ")), None);
    }

    #[test]
    fn a_record_of_the_largest_size_fits_and_is_read() {
        let mut history = History::default();
        for number in 0..=255_u8 {
            let day = u64::from(number);
            history.begin_day(day);
            history.see(&pin(number), day);
            let version = format!("{number:64}");
            history.count(&version, Outcome::Skipped, day);
            for warnings in &mut history.emitted {
                insert(warnings, day, EMITTED_DAYS);
            }
        }
        for of in &mut history.versions {
            of.counts = [u64::MAX; OUTCOMES];
        }
        let value = history.to_value();
        assert!(value.len() < 8 * 1024, "{}", value.len());
        assert_eq!(History::of_value(&value), Some(history));
    }

    proptest! {
        /// Damage that no checksum finds leads to no panic, in merging neither.
        #[test]
        fn any_text_is_read_and_merged_without_a_panic(
            numbers in prop::collection::vec(prop_oneof![0..20_u64, any::<u64>()], 24),
            text in "[\\[\\]{}\",:0-9a-z]{0,40}",
        ) {
            let mut numbers = numbers.iter();
            let mut number = || numbers.next().unwrap().to_string();
            let value = format!(
                r#"{{"since":[{},{}],"days":{},"recent":[{}],"last":[{},{}],"emitted":[[],[{}],[],[],[],[]],"pins":[["{}",{},{},{},{}]],"versions":[["1",{},{},{},{},{},{},{}]]}}"#,
                number(), number(), number(), number(), number(), number(), number(),
                pin(1).to_base64(), number(), number(), number(), number(),
                number(), number(), number(), number(), number(), number(), number(),
            );
            prop_assert_eq!(History::of_value(&text), None);
            if let Some(mut history) = History::of_value(&value) {
                prop_assert_eq!(history.to_value(), value);
                let merged = History::merged(&History::default(), &history, &history);
                prop_assert_eq!(&merged.pins, &history.pins);
                history.begin_day(u64::MAX);
                history.see(&pin(2), u64::MAX);
                history.count("1", Outcome::Passed, u64::MAX);
            }
        }
    }
}
