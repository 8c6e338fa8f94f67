//! The conductor: the phases of one run in their order, supervision, tear-down.
