#![allow(dead_code)]
mod clock; mod ids; mod quantity; mod secret; mod diag; mod document; mod timetable; mod journey; mod report; 
mod schedule { pub mod agenda; }
fn main() {}
