//! The document language: parse, validate, parameters, interpolation and plan, and the built-in documents.
