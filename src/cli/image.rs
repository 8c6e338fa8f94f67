//! `c1m image`: the image that workers run in, made of this binary and handed to the engine, for those who bring the lab up
//! by Compose or look at it themselves.

use clap::Args;
use serde_json::json;

use super::format::Format;
use super::{Exit, Failure, output};
use crate::domain::Bytes;
use crate::provision::docker;

/// Makes the image of this binary and hands it to the Docker engine; the same binary is always the same image.
#[derive(Debug, Args)]
pub(super) struct ImageArgs {
    /// How the answer is written.
    #[arg(long, value_enum, default_value_t = Format::Text, env = "C1M_FORMAT")]
    format: Format,
}

pub(super) fn run(args: &ImageArgs) -> Result<Exit, Failure> {
    let image = docker::make_image().map_err(|error| {
        let hint = error.hint.clone();
        Failure::new(Exit::Provision, error).with_hint(hint)
    })?;
    let text = match args.format {
        Format::Json => json!({
            "name": image.name,
            "digest": image.digest,
            "layer_bytes": image.bytes,
            "reused": image.reused,
        })
        .to_string(),
        Format::Text => format!(
            "{}  {}  {}  {}",
            image.name,
            image.digest,
            Bytes::new(image.bytes),
            if image.reused { "unchanged" } else { "new" }
        ),
    };
    output::print(&format!("{text}\n"))?;
    Ok(Exit::Done)
}
