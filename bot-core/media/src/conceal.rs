//! Concealment
