//! The scenarios that come with the program, built into it: `c1m run article` works in any folder.

use std::path::Path;

use super::suggest::did_you_mean;
use super::{Override, Scenario, ScenarioErrors, load, parse};

/// A scenario that comes with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    /// Its name.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),+ $(,)?) => {
        &[$(Shipped {
            name: $name,
            text: include_str!(concat!("../../lab/scenarios/", $name, ".yaml")),
        }),+]
    };
}

/// Every scenario that comes with the program, the small ones first.
pub const SHIPPED: &[Shipped] = shipped![
    "smoke",
    "10k",
    "100k",
    "vm-100k",
    "1m-loopback",
    "1m-netns",
    "article",
    "2m-netns",
];

/// A commented file to begin with, which says what the defaults say.
pub const TEMPLATE: &str = include_str!("../../lab/template.yaml");

impl Shipped {
    /// The scenario of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        SHIPPED.iter().find(|shipped| shipped.name == name)
    }

    /// The scenario that it says.
    ///
    /// # Errors
    /// Every error of the overrides, each with its place.
    pub fn load(&self, overrides: &[Override]) -> Result<Scenario, ScenarioErrors> {
        let file = format!("{}.yaml, as it comes with c1m", self.name);
        parse(self.text, &file, overrides)
    }
}

/// Loads what a user calls `name`: a scenario that comes with the program, else a file. Whatever has a slash or ends in
/// `.yaml` or `.yml` is a file.
///
/// # Errors
/// Every error of the file and of the overrides, each with its place.
pub fn find(name: &Path, overrides: &[Override]) -> Result<Scenario, ScenarioErrors> {
    let Some(text) = name.to_str().filter(|text| is_a_name(text)) else {
        return load(name, overrides);
    };
    if let Some(shipped) = Shipped::named(text) {
        return shipped.load(overrides);
    }
    if name.exists() {
        return load(name, overrides);
    }
    let names = SHIPPED.iter().map(|shipped| shipped.name);
    let hint = did_you_mean(text, names).map_or_else(
        || "`c1m scenarios` lists those that come with the program".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    Err(ScenarioErrors::whole(
        text,
        "there is no scenario of this name, and no such file",
        Some(&hint),
    ))
}

fn is_a_name(text: &str) -> bool {
    let ends = |end: &str| {
        Path::new(text)
            .extension()
            .is_some_and(|found| found == end)
    };
    !text.contains('/') && !ends("yaml") && !ends("yml")
}
