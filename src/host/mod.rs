//! Probe the facts of the host, apply its settings through the journal, put them back.
