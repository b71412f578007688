//! Each output of the same reports, read by independent programs.

mod browser;
mod files;
mod text;
