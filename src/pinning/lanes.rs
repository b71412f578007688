//! [`Lanes`], the events that wait for observers.
//!
//! Violations have a lane of their own and are taken first. In each lane the share of one server is
//! limited, and so is the share of events that servers cause by their headers, and that of
//! violations of noted pins, which servers choose.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::mem::discriminant;

use foldhash::fast::RandomState;

use crate::pinning::event::{Cause, Event};

/// The events that wait for observers, and the numbers of those that found no room.
#[derive(Default)]
pub(crate) struct Lanes {
    violations: Lane,
    others: Lane,
    /// The events that were taken since the last [`Event::Lost`].
    taken: usize,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    caused_by_headers: usize,
    caused_by_noted_pins: usize,
    lost: u64,
    names: RandomState,
}

struct Waiting {
    event: Event,
    /// A hash of the server's name, since a flood compares it with those of all waiting events.
    server: Option<u64>,
}

impl Lanes {
    /// Adds an event, or counts it as lost if its lane has no room for it.
    pub(crate) fn push(&mut self, event: Event) {
        let lane = if event.is_violation() {
            &mut self.violations
        } else {
            &mut self.others
        };
        lane.push(event);
    }

    /// Removes the next event: a violation if there is one. The number of lost events is returned
    /// once no other event is left, and at the latest after as many as fit in a lane.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        let lost = self.violations.lost + self.others.lost;
        if lost == 0 || self.taken < CAPACITY {
            let next = self.violations.pop();
            if let Some(event) = next.or_else(|| self.others.pop()) {
                self.taken += 1;
                return Some(event);
            }
        }
        self.taken = 0;
        let violations = std::mem::take(&mut self.violations.lost);
        let events = violations + std::mem::take(&mut self.others.lost);
        (events > 0).then_some(Event::Lost { events, violations })
    }

    pub(crate) fn is_empty(&self) -> bool {
        let mut lanes = [&self.violations, &self.others].into_iter();
        lanes.all(|lane| lane.waiting.is_empty() && lane.lost == 0)
    }

    /// Returns whether a lane may soon have no room for further events.
    pub(crate) fn is_half_full(&self) -> bool {
        let mut lanes = [&self.violations, &self.others].into_iter();
        lanes.any(|lane| lane.waiting.len() >= MAX_OF_SERVER / 2)
    }
}

impl Lane {
    fn push(&mut self, event: Event) {
        let server = event.server_name().map(|name| self.names.hash_one(&*name));
        if self.merge(&event, server) {
            return;
        }
        let cause = event.cause();
        if self.has_room(server, cause) {
            if let Some(count) = self.count(cause) {
                *count += 1;
            }
            self.waiting.push_back(Waiting { event, server });
        } else {
            self.lost += 1;
        }
    }

    fn pop(&mut self) -> Option<Event> {
        let Waiting { event, .. } = self.waiting.pop_front()?;
        if let Some(count) = self.count(event.cause()) {
            *count -= 1;
        }
        Some(event)
    }

    /// Returns the number of events of this cause, if it has a limit.
    fn count(&mut self, cause: Cause) -> Option<&mut usize> {
        match cause {
            Cause::Header => Some(&mut self.caused_by_headers),
            Cause::NotedPins => Some(&mut self.caused_by_noted_pins),
            Cause::Other => None,
        }
    }

    /// Counts an ignored header in a waiting event of the same host, if there is one. Replaces a
    /// waiting storage error, of which a server may cause one by each response.
    fn merge(&mut self, event: &Event, server: Option<u64>) -> bool {
        if let Event::StorageFailed(_) = event {
            let is_failure = |known: &&mut Waiting| matches!(known.event, Event::StorageFailed(_));
            let waiting = self.waiting.iter_mut().find(is_failure);
            return waiting.map(|known| known.event = event.clone()).is_some();
        }
        let Event::HeaderIgnored {
            host: new_host,
            reason: new_reason,
            headers: new_headers,
        } = event
        else {
            return false;
        };
        let of_server = self.waiting.iter_mut();
        for waiting in of_server.filter(|waiting| waiting.server == server) {
            if let Event::HeaderIgnored {
                host,
                reason,
                headers,
            } = &mut waiting.event
                && host == new_host
                && discriminant(reason) == discriminant(new_reason)
            {
                *headers += new_headers;
                return true;
            }
        }
        false
    }

    fn has_room(&self, server: Option<u64>, cause: Cause) -> bool {
        let has_share = match cause {
            Cause::Header => self.caused_by_headers < MAX_CAUSED_BY_HEADERS,
            Cause::NotedPins => self.caused_by_noted_pins < MAX_CAUSED_BY_NOTED_PINS,
            Cause::Other => true,
        };
        let of_server = || {
            let waiting = self.waiting.iter();
            waiting.filter(|known| known.server == server).count()
        };
        self.waiting.len() < CAPACITY
            && has_share
            // They are counted only if they may reach the limit.
            && (self.waiting.len() < MAX_OF_SERVER
                || server.is_none()
                || of_server() < MAX_OF_SERVER)
    }
}

/// The limit of events in a lane. Each may contain a served chain, which takes a few kilobytes, or
/// 64 KB from a hostile server: at most 16 MB in each lane.
const CAPACITY: usize = 256;
/// The limit of events about one server in a lane. Most applications that retry a refused
/// connection make fewer attempts.
const MAX_OF_SERVER: usize = CAPACITY / 4;
/// The limit of events in a lane that headers cause: the names of a domain that a hostile server
/// uses are without number.
const MAX_CAUSED_BY_HEADERS: usize = CAPACITY / 4;
/// The limit of violations of noted pins, which leaves a quarter of the lane to those of the
/// application's pins.
const MAX_CAUSED_BY_NOTED_PINS: usize = CAPACITY / 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pinning::noting::IgnoreReason;
    use crate::policy::{HeaderError, Host};
    use crate::store::StorageError;

    fn host(number: usize) -> Host {
        Host::parse(&format!("host-{number}.example")).unwrap()
    }

    fn ignored(number: usize, reason: IgnoreReason) -> Event {
        Event::HeaderIgnored {
            host: Some(host(number)),
            reason,
            headers: 1,
        }
    }

    fn rest(lanes: &mut Lanes) -> Vec<Event> {
        std::iter::from_fn(|| lanes.pop()).collect()
    }

    #[test]
    fn ignored_headers_of_a_host_are_one_event_per_kind_of_reason() {
        let mut lanes = Lanes::default();
        for _ in 0..600 {
            lanes.push(ignored(1, IgnoreReason::NoPins));
            lanes.push(ignored(1, IgnoreReason::Header(HeaderError::Empty)));
            lanes.push(ignored(2, IgnoreReason::NoPins));
        }
        let rest = rest(&mut lanes);
        let counts = rest.iter().map(|event| match event {
            Event::HeaderIgnored { headers, .. } => *headers,
            event => panic!("{event:?}"),
        });
        assert_eq!(counts.collect::<Vec<_>>(), [600; 3]);
        assert!(lanes.is_empty());
    }

    #[test]
    fn headers_of_many_hosts_leave_most_of_their_lane_to_other_events() {
        let mut lanes = Lanes::default();
        (0..600).for_each(|number| lanes.push(ignored(number, IgnoreReason::NoPins)));
        (0..600).for_each(|number| lanes.push(Event::Skipped { host: host(number) }));
        (0..600).for_each(|_| lanes.push(Event::StorageFailed(StorageError::Panicked)));
        let rest = rest(&mut lanes);
        let count = |is_counted: fn(&Event) -> bool| rest.iter().filter(|e| is_counted(e)).count();
        assert_eq!(
            count(|event| matches!(event, Event::HeaderIgnored { .. })),
            64
        );
        assert_eq!(count(|event| matches!(event, Event::Skipped { .. })), 192);
        assert_eq!(count(|event| matches!(event, Event::StorageFailed(_))), 1);
        // After 256 events, although one more is waiting.
        let lost = Event::Lost {
            events: 1200 - 256,
            violations: 0,
        };
        let position = rest.len() - 2;
        assert_eq!(format!("{:?}", rest[position]), format!("{lost:?}"));
        assert!(lanes.is_empty());
    }

    #[test]
    fn one_host_has_a_quarter_of_a_lane_and_violations_are_taken_first() {
        let mut lanes = Lanes::default();
        for number in [1; 600].into_iter().chain([2]) {
            lanes.push(Event::Skipped { host: host(number) });
        }
        lanes.push(Event::StorageFailed(StorageError::Panicked));
        assert!(matches!(lanes.pop(), Some(Event::StorageFailed(_))));
        let rest = rest(&mut lanes);
        let of = |number| {
            let is_of =
                |event: &&Event| matches!(event, Event::Skipped { host } if *host == number);
            rest.iter().filter(is_of).count()
        };
        assert_eq!((of(host(1)), of(host(2))), (64, 1));
    }
}
