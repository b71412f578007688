//! What `http_reporter/endpoint.rs` imports from the module `violation` of the library.

pub(crate) use pinhold::report::EndpointError;
