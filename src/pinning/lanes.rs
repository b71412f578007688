//! [`Lanes`], the events that wait for observers.
//!
//! Violations have a lane of their own and are taken first. In each lane the share of one server
//! is limited, and the share of events that servers cause by their headers: neither a host that
//! floods the client nor a slow observer keeps the violations of other hosts from being emitted.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::mem::discriminant;

use foldhash::fast::RandomState;

use crate::pinning::event::Event;

/// The events that wait for observers, and the numbers of those that found no room.
#[derive(Default)]
pub(crate) struct Lanes {
    violations: Lane,
    others: Lane,
}

#[derive(Default)]
struct Lane {
    waiting: VecDeque<Waiting>,
    /// How many of them are caused by headers.
    caused_by_headers: usize,
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

    /// Removes the next event: a violation if there is one, and once no event is left, the number
    /// of those that were lost.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        let next = self.violations.pop();
        if let Some(event) = next.or_else(|| self.others.pop()) {
            return Some(event);
        }
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
        let is_caused_by_header = event.is_caused_by_header();
        if self.has_room(server, is_caused_by_header) {
            self.caused_by_headers += usize::from(is_caused_by_header);
            self.waiting.push_back(Waiting { event, server });
        } else {
            self.lost += 1;
        }
    }

    fn pop(&mut self) -> Option<Event> {
        let Waiting { event, .. } = self.waiting.pop_front()?;
        self.caused_by_headers -= usize::from(event.is_caused_by_header());
        Some(event)
    }

    /// Counts an ignored header in a waiting event of the same host, if there is one.
    fn merge(&mut self, event: &Event, server: Option<u64>) -> bool {
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

    fn has_room(&self, server: Option<u64>, is_caused_by_header: bool) -> bool {
        let of_server = || {
            let waiting = self.waiting.iter();
            waiting.filter(|known| known.server == server).count()
        };
        self.waiting.len() < CAPACITY
            && (!is_caused_by_header || self.caused_by_headers < MAX_CAUSED_BY_HEADERS)
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
const MAX_CAUSED_BY_HEADERS: usize = CAPACITY / 2;

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
    fn headers_of_many_hosts_leave_half_of_their_lane_to_other_events() {
        let mut lanes = Lanes::default();
        (0..600).for_each(|number| lanes.push(ignored(number, IgnoreReason::NoPins)));
        (0..600).for_each(|number| lanes.push(Event::Skipped { host: host(number) }));
        (0..600).for_each(|_| lanes.push(Event::StorageFailed(StorageError::Panicked)));
        let rest = rest(&mut lanes);
        let count = |is_counted: fn(&Event) -> bool| rest.iter().filter(|e| is_counted(e)).count();
        assert_eq!(
            count(|event| matches!(event, Event::HeaderIgnored { .. })),
            128
        );
        assert_eq!(count(|event| matches!(event, Event::Skipped { .. })), 128);
        assert_eq!(count(|event| matches!(event, Event::StorageFailed(_))), 256);
        let lost = Event::Lost {
            events: 1800 - 512,
            violations: 600 - 256,
        };
        assert_eq!(format!("{:?}", rest.last().unwrap()), format!("{lost:?}"));
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
