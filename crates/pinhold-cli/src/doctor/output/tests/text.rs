//! The table and the JSON object.

#[test]
fn dump() {
    use crate::doctor::output::{fixture, json, junit, page, sarif, table};
    for (name, report) in [("kinds", fixture::every_kind()), ("hostile", fixture::with_hostile_texts()), ("many", fixture::many())] {
        std::fs::write(format!("/tmp/m/{name}.html"), page::html(&report)).unwrap();
        std::fs::write(format!("/tmp/m/{name}.sarif"), sarif::log(&report)).unwrap();
        std::fs::write(format!("/tmp/m/{name}.xml"), junit::document(&report).ok().unwrap()).unwrap();
        std::fs::write(format!("/tmp/m/{name}.txt"), table::report(&report)).unwrap();
        std::fs::write(format!("/tmp/m/{name}.json"), json::report(&report).to_string()).unwrap();
    }
}
