//! The image that workers run in: this very binary, FROM scratch, made here and handed to the engine. No registry, no
//! Dockerfile. It is handed over as `docker load` takes it, with a configuration of our own, because `docker import` stamps
//! the hour into the image: this way the same binary is the same image, digest by digest, on every machine.

use std::collections::HashMap;
use std::io;
use std::path::Path;

use bollard::models::ImageSummary;
use bollard::query_parameters::{
    ImportImageOptionsBuilder, ListImagesOptionsBuilder, RemoveImageOptionsBuilder,
    TagImageOptionsBuilder,
};
use futures_util::StreamExt;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::address::hexadecimal;
use super::engine::{Engine, failed, is_gone};
use super::labels;
use super::program::{Program, ProgramFile};
use crate::provision::ProvisionError;

/// The name without its tag.
const REPOSITORY: &str = "c1m";

/// The tag that Compose files name. Only `c1m image` moves it: a run uses the image of its own build by that image's name.
const NEWEST: &str = "latest";

/// The image as it was found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Its name, which has the beginning of its layer's digest in it.
    pub name: String,
    /// The digest of its configuration, which includes that of its layer: the image's identity.
    pub digest: String,
    /// Bytes of its layer.
    pub bytes: u64,
    /// Whether the engine had it already.
    pub reused: bool,
}

/// Makes the image of the running binary, or finds it where the engine has it already, and gives it the name that Compose
/// files have: what Compose runs afterwards is this build.
///
/// # Errors
/// When the binary cannot be read, or the engine does not take the image or its name.
pub fn make_image() -> Result<Image, ProvisionError> {
    make(&Program::running()?)
}

/// As [`make_image`], of another static binary.
///
/// # Errors
/// As [`make_image`].
pub fn make_image_of(binary: &Path) -> Result<Image, ProvisionError> {
    make(&Program::of(binary)?)
}

fn make(program: &Program) -> Result<Image, ProvisionError> {
    let engine = Engine::connect()?;
    let image = ensure(&engine, program)?;
    let docker = engine.docker();
    let name = image.name.clone();
    // The name may lead to another build: one that was made later, or that `docker load` brought.
    engine
        .wait(async move {
            let options = TagImageOptionsBuilder::default()
                .repo(REPOSITORY)
                .tag(NEWEST)
                .build();
            docker.tag_image(&name, Some(options)).await
        })
        .map_err(failed(format!(
            "cannot give image {} the name {REPOSITORY}:{NEWEST}",
            image.name
        )))?;
    Ok(image)
}

/// Finds or makes the image of `program`.
pub(super) fn ensure(engine: &Engine, program: &Program) -> Result<Image, ProvisionError> {
    let archive = Archive::of(program)
        .map_err(|error| ProvisionError::new("put the image together", error))?;
    let name = archive.name.clone();
    let found = engine.wait({
        let (docker, name) = (engine.docker(), name.clone());
        async move { docker.inspect_image(&name).await }
    });
    let layer = archive.layer_digest.clone();
    let reused = match found {
        // The name says which layer it is; another one under that name is replaced.
        Ok(found) => found
            .root_fs
            .and_then(|root| root.layers)
            .is_some_and(|layers| layers == [layer]),
        Err(error) if is_gone(&error) => false,
        Err(error) => return Err(failed(format!("cannot look at image {name}"))(error)),
    };
    let image = Image {
        name: name.clone(),
        digest: archive.config_digest.clone(),
        bytes: archive.layer_bytes,
        reused,
    };
    if reused {
        return Ok(image);
    }
    let docker = engine.docker();
    engine
        .wait(async move {
            let options = ImportImageOptionsBuilder::default().quiet(true).build();
            let body = bollard::body_full(archive.bytes.into());
            let mut answers = docker.import_image(options, body, None);
            while let Some(answer) = answers.next().await {
                answer?;
            }
            // The engine's last word may be a success though it could not store the image: it is asked for it.
            docker.inspect_image(&name).await.map(drop)
        })
        .map_err(failed(format!(
            "cannot hand image {} to the engine",
            image.name
        )))?;
    Ok(image)
}

/// Names of every image of ours.
pub(super) fn names(engine: &Engine) -> Result<Vec<String>, ProvisionError> {
    Ok(list(engine)?
        .into_iter()
        .flat_map(|image| image.repo_tags)
        .collect())
}

/// Removes every image of ours that no container uses. Returns the names of those, and what could not be removed.
pub(super) fn remove_all(engine: &Engine) -> (Vec<String>, Vec<ProvisionError>) {
    let names = match names(engine) {
        Ok(names) => names,
        Err(error) => return (Vec::new(), vec![error]),
    };
    let (mut removed, mut errors) = (Vec::new(), Vec::new());
    for name in names {
        let docker = engine.docker();
        let tag = name.clone();
        let outcome = engine.wait(async move {
            let options = RemoveImageOptionsBuilder::default().build();
            docker.remove_image(&tag, Some(options), None).await
        });
        match outcome {
            Ok(_) => removed.push(name),
            Err(error) if is_gone(&error) => {}
            Err(error) => errors.push(failed(format!("cannot remove image {name}"))(error)),
        }
    }
    (removed, errors)
}

/// The images that carry our label.
fn list(engine: &Engine) -> Result<Vec<ImageSummary>, ProvisionError> {
    let docker = engine.docker();
    engine
        .wait(async move {
            let filters = labels::filter_ours();
            let options = ListImagesOptionsBuilder::default()
                .filters(&filters)
                .build();
            docker.list_images(Some(options)).await
        })
        .map_err(failed("cannot list the images of c1m"))
}

/// An image as `docker load` takes it: a layer, a configuration, and a manifest that names both.
struct Archive {
    name: String,
    bytes: Vec<u8>,
    layer_digest: String,
    layer_bytes: u64,
    config_digest: String,
}

impl Archive {
    fn of(program: &Program) -> io::Result<Self> {
        let layer = layer(&program.files)?;
        let layer_hash = hexadecimal(&Sha256::digest(&layer));
        let layer_digest = format!("sha256:{layer_hash}");
        let config = configuration(program, &layer_digest);
        let config_hash = hexadecimal(&Sha256::digest(&config));
        let tag = layer_hash.get(..12).unwrap_or(&layer_hash);
        let name = format!("{REPOSITORY}:{tag}");
        let manifest = json!([{
            "Config": format!("{config_hash}.json"),
            "RepoTags": [name],
            "Layers": [format!("{layer_hash}/layer.tar")],
        }]);
        let mut tar = tar::Builder::new(Vec::new());
        append(&mut tar, &format!("{config_hash}.json"), 0o644, &config)?;
        append(&mut tar, &format!("{layer_hash}/layer.tar"), 0o644, &layer)?;
        append(
            &mut tar,
            "manifest.json",
            0o644,
            manifest.to_string().as_bytes(),
        )?;
        Ok(Self {
            name,
            bytes: tar.into_inner()?,
            layer_digest,
            layer_bytes: layer.len() as u64,
            config_digest: format!("sha256:{config_hash}"),
        })
    }
}

/// The file system of the image: files in order of their paths, all times zero, all owned by root.
fn layer(files: &[ProgramFile]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for file in files {
        match file {
            ProgramFile::File { path, bytes } => append(&mut tar, path, 0o755, bytes)?,
            ProgramFile::Link { path, to } => {
                let mut header = header(0o777, 0);
                header.set_entry_type(tar::EntryType::Symlink);
                tar.append_link(&mut header, path, to)?;
            }
        }
    }
    tar.into_inner()
}

fn append(tar: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut header = header(mode, bytes.len() as u64);
    tar.append_data(&mut header, path, bytes)
}

/// A header in which nothing depends on where and when it was made.
fn header(mode: u32, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_size(size);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// The configuration of the image, as the Docker image specification 1.2 has it. Its digest is the image's identity, so
/// nothing in it may depend on the hour: it was made at the epoch.
fn configuration(program: &Program, layer_digest: &str) -> Vec<u8> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let labels: HashMap<_, _> = labels::of_image();
    let environment: Vec<String> = match program.library_path.as_str() {
        "" => Vec::new(),
        path => vec![format!("LD_LIBRARY_PATH={path}")],
    };
    // serde_json writes the keys of an object in order, and so always the same bytes.
    json!({
        "architecture": architecture,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": ["/c1m"],
            "Cmd": ["worker"],
            "Env": environment,
            "WorkingDir": "/",
            "Labels": labels,
        },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "c1m image" }],
    })
    .to_string()
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program() -> Program {
        Program {
            files: vec![
                ProgramFile::File {
                    path: "c1m".to_owned(),
                    bytes: vec![7; 100_000],
                },
                ProgramFile::Link {
                    path: "lib64/ld.so".to_owned(),
                    to: "/usr/lib/ld.so".to_owned(),
                },
            ],
            library_path: String::new(),
        }
    }

    #[test]
    fn the_same_program_is_the_same_image() {
        let (one, other) = (
            Archive::of(&program()).expect("made"),
            Archive::of(&program()).expect("made"),
        );
        assert_eq!(one.bytes, other.bytes);
        assert_eq!(one.config_digest, other.config_digest);
        assert!(one.name.starts_with("c1m:"));
    }

    #[test]
    fn another_program_is_another_image() {
        let mut changed = program();
        changed.files.pop();
        let (one, other) = (
            Archive::of(&program()).expect("made"),
            Archive::of(&changed).expect("made"),
        );
        assert_ne!(one.name, other.name);
        assert_ne!(one.config_digest, other.config_digest);
    }

    #[test]
    fn no_time_and_no_owner_of_this_machine_gets_into_the_layer() {
        let layer = layer(&program().files).expect("made");
        let mut archive = tar::Archive::new(layer.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().expect("a tar") {
            let entry = entry.expect("an entry");
            let header = entry.header();
            assert_eq!(header.mtime().expect("a time"), 0);
            assert_eq!(header.uid().expect("an owner"), 0);
            seen.push(entry.path().expect("a path").display().to_string());
        }
        assert_eq!(seen, ["c1m", "lib64/ld.so"]);
    }
}
