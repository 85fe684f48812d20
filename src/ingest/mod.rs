//! (room: ingest)
