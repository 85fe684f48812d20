//! ISO 8601 timestamps of flags and segments, as Unix milliseconds.
