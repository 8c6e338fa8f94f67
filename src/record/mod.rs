//! The run directory: names of its files, writer, reader, version of the formats.
