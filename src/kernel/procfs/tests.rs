//! Parsers on files of several kernels.
