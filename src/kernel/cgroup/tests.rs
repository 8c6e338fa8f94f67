//! Control groups of both versions, and a hybrid, as directories.
