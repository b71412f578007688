//! What the feature `tracing` tells of noted pins that can't be stored.
#![cfg(all(feature = "hyper", feature = "tracing"))]
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::fmt;
use std::fs;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use common::noted::{Hosts, folder, numbered, pinning};
use common::{NOW, PATIENCE};
use pinhold::{FileStorage, PinStore};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Sends level and error of each event of ours.
struct Listener(Mutex<Sender<(Level, String)>>);

#[derive(Default)]
struct Error(String);

impl Visit for Error {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "error" {
            self.0 = format!("{value:?}");
        }
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "pinhold"
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut error = Error::default();
        event.record(&mut error);
        let sender = self.0.lock().unwrap();
        let _ = sender.send((*event.metadata().level(), error.0));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[test]
fn trouble_with_the_storage_is_an_event() {
    let (sender, events) = channel();
    tracing::subscriber::set_global_default(Listener(Mutex::new(sender))).unwrap();
    let warned = |expected: &pinhold::StorageError| {
        let event = events.recv_timeout(PATIENCE).unwrap();
        assert_eq!(event, (Level::WARN, expected.to_string()));
    };
    let folder = folder();
    let file = folder.path().join("pins.jsonl");
    fs::write(&file, "").unwrap();
    let (store, error) = PinStore::open_or_recover(FileStorage::new(&file));
    warned(&error.unwrap());

    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let hosts = Hosts::blocking(&["a.example"]);
    hosts.note(
        &pinning(&store),
        0,
        &hosts.value(numbered(1), "max-age=1"),
        NOW,
    );
    let error = store.flush().unwrap_err();
    warned(&error);

    let (_, error) = PinStore::open_or_recover(FileStorage::new(&file));
    let of_opening = error.unwrap().to_string();
    let mut said = std::iter::from_fn(|| events.recv_timeout(PATIENCE).ok());
    assert!(said.any(|(level, error)| level == Level::WARN && error == of_opening));
}
