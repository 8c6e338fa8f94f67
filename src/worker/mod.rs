//! The process that serves or dials: a spec comes in on stdin, events go out on stdout.
