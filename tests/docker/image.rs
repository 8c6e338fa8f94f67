//! The image: the same binary is the same image, an unchanged one is reused, and it has nothing in it but the binary.

use std::path::Path;

use c1m::provision::docker::make_image_of;

use crate::docker;

#[test]
fn the_same_binary_is_the_same_image_whenever_it_is_made() {
    let binary = Path::new(env!("CARGO_BIN_EXE_c1m"));
    let first = make_image_of(binary).expect("made");
    let again = make_image_of(binary).expect("made");
    assert!(again.reused);
    assert_eq!(first.digest, again.digest);
    docker(&["image", "rm", "--force", &first.name]);
    let anew = make_image_of(binary).expect("made");
    assert!(!anew.reused);
    assert_eq!(first.digest, anew.digest);
    let id = docker(&["image", "inspect", "--format", "{{.Id}}", &first.name]);
    assert_eq!(id, first.digest);
    let labels = docker(&[
        "image",
        "inspect",
        "--format",
        "{{json .Config.Labels}}",
        &first.name,
    ]);
    assert!(labels.contains("\"io.c1m.managed-by\":\"c1m\""), "{labels}");
}

#[test]
fn the_name_that_compose_files_have_leads_to_this_build_afterwards() {
    let binary = Path::new(env!("CARGO_BIN_EXE_c1m"));
    let image = make_image_of(binary).expect("made");
    let id_of = |name: &str| docker(&["image", "inspect", "--format", "{{.Id}}", name]);
    assert_eq!(id_of("c1m:latest"), image.digest);
    // As another build's.
    let folder = tempfile::tempdir().expect("a folder");
    let empty = folder.path().join("empty.tar");
    std::fs::write(&empty, [0; 1024]).expect("writes");
    docker(&["import", &empty.to_string_lossy(), "c1m:latest"]);
    assert_ne!(id_of("c1m:latest"), image.digest);
    assert!(make_image_of(binary).expect("made").reused);
    assert_eq!(id_of("c1m:latest"), image.digest);
}

#[test]
fn the_binary_answers_from_inside_its_image() {
    let image = make_image_of(Path::new(env!("CARGO_BIN_EXE_c1m"))).expect("made");
    let version = docker(&[
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        &image.name,
        "--version",
    ]);
    assert!(version.starts_with("c1m "), "{version}");
}

#[test]
fn a_dynamic_program_that_is_not_the_running_one_is_refused_with_its_loader() {
    let error = make_image_of(Path::new("/bin/sh")).expect_err("dynamic");
    assert!(error.why.contains("loader"), "{error}");
}
