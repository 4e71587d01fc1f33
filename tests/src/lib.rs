//! Test harness, scenarios, interoperability with real peers, benches.
