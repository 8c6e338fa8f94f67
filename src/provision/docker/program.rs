//! The files that a binary needs to run where there is nothing else: a static one itself; a dynamic one with its loader and
//! the libraries that the kernel has mapped for it, as `/proc/self/maps` names them (proc(5)).

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::provision::{ProvisionError, WorkerProgram};

/// A program with what it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    /// Its files, in order of their paths; the program itself is `c1m`.
    pub(super) files: Vec<ProgramFile>,
    /// Where the loader has to look for libraries, as `LD_LIBRARY_PATH` writes it; empty for a static program.
    pub(super) library_path: String,
}

/// A file of the image, its path without the leading slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ProgramFile {
    /// A regular, executable file.
    File {
        /// Its path.
        path: String,
        /// Its content.
        bytes: Vec<u8>,
    },
    /// A symbolic link.
    Link {
        /// Its path.
        path: String,
        /// What it points to.
        to: String,
    },
}

impl Program {
    /// The program that runs at this moment, even where its file has been replaced since it began.
    pub(super) fn running() -> Result<Self, ProvisionError> {
        let bytes = read(Path::new("/proc/self/exe"))?;
        match interpreter(&bytes) {
            Ok(None) => Ok(Self::alone(bytes)),
            Ok(Some(loader)) => {
                let maps = read(Path::new("/proc/self/maps"))?;
                let own = std::fs::read_link("/proc/self/exe").unwrap_or_default();
                // A file that was replaced is marked so, here and not in the list.
                let own = own.display().to_string();
                let own = PathBuf::from(own.trim_end_matches(" (deleted)"));
                let mapped = mapped_files(&String::from_utf8_lossy(&maps), &own);
                Self::with_libraries(bytes, &loader, &mapped)
            }
            Err(why) => Err(ProvisionError::new("understand the running program", why)),
        }
    }

    /// What a worker executes.
    pub(super) fn of_worker(program: &WorkerProgram) -> Result<Self, ProvisionError> {
        program.other_file().map_or_else(Self::running, Self::of)
    }

    /// A static program in a file.
    pub(super) fn of(path: &Path) -> Result<Self, ProvisionError> {
        let bytes = read(path)?;
        let what = || format!("put {} into an image", path.display());
        match interpreter(&bytes) {
            Ok(None) => Ok(Self::alone(bytes)),
            Ok(Some(loader)) => Err(ProvisionError::new(
                what(),
                format!("it needs the loader {loader}, and is not the running program"),
            )),
            Err(why) => Err(ProvisionError::new(what(), why)),
        }
    }

    fn alone(bytes: Vec<u8>) -> Self {
        Self {
            files: vec![ProgramFile::File {
                path: PROGRAM.to_owned(),
                bytes,
            }],
            library_path: String::new(),
        }
    }

    fn with_libraries(
        bytes: Vec<u8>,
        loader: &str,
        mapped: &BTreeSet<PathBuf>,
    ) -> Result<Self, ProvisionError> {
        let mut program = Self::alone(bytes);
        let mut folders = BTreeSet::new();
        for file in mapped {
            program.files.push(ProgramFile::File {
                path: in_image(file),
                bytes: read(file)?,
            });
            folders.extend(file.parent().map(|folder| folder.display().to_string()));
            // The loader looks libraries up by the names that programs were linked with, which are often links.
            for link in links_to(file) {
                program.files.push(ProgramFile::Link {
                    path: in_image(&link),
                    to: file.display().to_string(),
                });
            }
        }
        // The kernel starts the loader by the path that the program names, which is often a link too.
        let named = Path::new(loader);
        let real = named
            .canonicalize()
            .map_err(|error| ProvisionError::new(format!("find the loader {loader}"), error))?;
        let has = |path: &str| program.files.iter().any(|file| file.path() == path);
        if !has(&in_image(&real)) {
            program.files.push(ProgramFile::File {
                path: in_image(&real),
                bytes: read(&real)?,
            });
        }
        if real != named
            && !program
                .files
                .iter()
                .any(|file| file.path() == in_image(named))
        {
            program.files.push(ProgramFile::Link {
                path: in_image(named),
                to: real.display().to_string(),
            });
        }
        program.files.sort_by(|a, b| a.path().cmp(b.path()));
        program.library_path = folders.into_iter().collect::<Vec<_>>().join(":");
        Ok(program)
    }
}

impl ProgramFile {
    fn path(&self) -> &str {
        match self {
            Self::File { path, .. } | Self::Link { path, .. } => path,
        }
    }
}

/// The path of the program in the image.
const PROGRAM: &str = "c1m";

fn read(path: &Path) -> Result<Vec<u8>, ProvisionError> {
    std::fs::read(path)
        .map_err(|error| ProvisionError::new(format!("read {}", path.display()), error))
}

fn in_image(path: &Path) -> String {
    path.display()
        .to_string()
        .trim_start_matches('/')
        .to_owned()
}

/// Files that are mapped executable, other than the program itself and what the kernel maps without a file.
fn mapped_files(maps: &str, own: &Path) -> BTreeSet<PathBuf> {
    maps.lines()
        .filter_map(|line| {
            // address, rights, offset, device, inode, path
            let mut fields = line.split_ascii_whitespace();
            let rights = fields.nth(1)?;
            let path = fields.nth(3)?;
            (rights.contains('x') && path.starts_with('/')).then(|| PathBuf::from(path))
        })
        .filter(|path| path != own)
        .collect()
}

/// Links in the folder of `file` that lead to it.
fn links_to(file: &Path) -> Vec<PathBuf> {
    let Some(Ok(folder)) = file.parent().map(std::fs::read_dir) else {
        return Vec::new();
    };
    let mut links: Vec<PathBuf> = folder
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.is_symlink() && path.canonicalize().is_ok_and(|real| real == file))
        .collect();
    links.sort();
    links
}

/// The loader that an ELF file asks for: the segment `PT_INTERP`, see elf(5). Nothing for a static program.
fn interpreter(bytes: &[u8]) -> Result<Option<String>, &'static str> {
    const INTERPRETER: u32 = 3;
    const CUT_OFF: &str = "its ELF headers are cut off";
    if bytes.get(..4) != Some(b"\x7fELF") {
        return Err("it is no ELF file");
    }
    if bytes.get(4) != Some(&2) {
        return Err("it is no 64-bit program");
    }
    let word = |at: usize| {
        let field = bytes.get(at..)?.first_chunk::<8>()?;
        usize::try_from(u64::from_ne_bytes(*field)).ok()
    };
    let half = |at: usize| {
        let field = bytes.get(at..)?.first_chunk::<2>()?;
        Some(usize::from(u16::from_ne_bytes(*field)))
    };
    // e_phoff, e_phentsize, e_phnum
    let (Some(table), Some(size), Some(count)) = (word(32), half(54), half(56)) else {
        return Err(CUT_OFF);
    };
    for index in 0..count {
        let at = size
            .checked_mul(index)
            .and_then(|offset| offset.checked_add(table))
            .ok_or(CUT_OFF)?;
        let kind = bytes
            .get(at..)
            .and_then(<[u8]>::first_chunk::<4>)
            .ok_or(CUT_OFF)?;
        if u32::from_ne_bytes(*kind) != INTERPRETER {
            continue;
        }
        // p_offset, p_filesz
        let (start, length) = word(at + 8).zip(word(at + 32)).ok_or(CUT_OFF)?;
        let end = start.checked_add(length).ok_or(CUT_OFF)?;
        let path = bytes.get(start..end).ok_or(CUT_OFF)?;
        let path = path.strip_suffix(&[0]).unwrap_or(path);
        return Ok(Some(String::from_utf8_lossy(path).into_owned()));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A 64-bit header with one segment of the given kind, whose content is `path`.
    fn elf(kind: u32, path: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0_u8; 64 + 56];
        bytes[..5].copy_from_slice(b"\x7fELF\x02");
        bytes[32..40].copy_from_slice(&64_u64.to_ne_bytes());
        bytes[54..56].copy_from_slice(&56_u16.to_ne_bytes());
        bytes[56..58].copy_from_slice(&1_u16.to_ne_bytes());
        bytes[64..68].copy_from_slice(&kind.to_ne_bytes());
        bytes[72..80].copy_from_slice(&120_u64.to_ne_bytes());
        bytes[96..104].copy_from_slice(&(path.len() as u64).to_ne_bytes());
        bytes.extend_from_slice(path);
        bytes
    }

    #[test]
    fn a_dynamic_program_names_its_loader_and_a_static_one_none() {
        let dynamic = elf(3, b"/lib64/ld-linux-x86-64.so.2\0");
        assert_eq!(
            interpreter(&dynamic),
            Ok(Some("/lib64/ld-linux-x86-64.so.2".to_owned()))
        );
        assert_eq!(interpreter(&elf(1, b"")), Ok(None));
        assert!(interpreter(b"#!/bin/sh").is_err());
    }

    #[test]
    fn libraries_are_the_mapped_files_without_the_program_itself() {
        let maps = "\
55d0c000-55d0e000 r-xp 00002000 fe:00 1179 /usr/bin/c1m
7f10a000-7f10b000 r--p 00000000 fe:00 2201 /usr/lib/x86_64-linux-gnu/libc.so.6
7f10b000-7f10c000 r-xp 00001000 fe:00 2201 /usr/lib/x86_64-linux-gnu/libc.so.6
7f20b000-7f20c000 r--p 00001000 fe:00 2207 /usr/share/locale/locale-archive
7f30b000-7f30c000 r-xp 00001000 fe:00 2204 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7ffd0000-7ffd1000 r-xp 00000000 00:00 0 [vdso]
";
        let found: Vec<_> = mapped_files(maps, Path::new("/usr/bin/c1m"))
            .into_iter()
            .collect();
        assert_eq!(
            found,
            [
                Path::new("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
                Path::new("/usr/lib/x86_64-linux-gnu/libc.so.6"),
            ]
        );
    }

    #[test]
    fn links_to_a_library_are_found_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let real = folder
            .path()
            .canonicalize()
            .expect("a path")
            .join("libx-2.1.so");
        std::fs::write(&real, "x").expect("written");
        std::os::unix::fs::symlink("libx-2.1.so", real.with_file_name("libx.so.2")).expect("made");
        assert_eq!(links_to(&real), [real.with_file_name("libx.so.2")]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for (byte, magic) in bytes.iter_mut().zip(b"\x7fELF\x02") {
                *byte = *magic;
            }
            let _ = interpreter(&bytes);
        }
    }
}
