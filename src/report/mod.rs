//! A recording becomes a report: markdown, charts, JSON and text. Pure.
