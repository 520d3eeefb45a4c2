//! The system libraries that a program is linked with, and the packages they come from.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::shell::{output_of, program};

/// A library as the loader of this machine finds it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Library {
    /// Where it lies, which is where the loader looks for it in the image too.
    pub(super) path: PathBuf,
    /// Name and version of the Debian package that brings it, where there is one.
    pub(super) package: Option<(String, String)>,
}

/// The libraries of `binary`, the loader among them, by path.
///
/// # Errors
/// If one is missing, or there is no `ldd`.
pub(super) fn of(binary: &Path) -> Result<Vec<Library>> {
    let told = output_of(program("ldd", &[]).arg(binary))?;
    ensure!(
        !told.contains("not found"),
        "{}: a library is missing:\n{told}",
        binary.display()
    );
    let mut libraries: Vec<Library> = paths(&told)
        .into_iter()
        .map(|path| Library {
            package: package(&path),
            path,
        })
        .collect();
    libraries.sort();
    Ok(libraries)
}

/// The files in what `ldd` says: `libc.so.6 => /lib/…/libc.so.6 (0x…)`, and `/lib64/ld-linux-x86-64.so.2 (0x…)`.
fn paths(told: &str) -> Vec<PathBuf> {
    told.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

/// Who brings a file, on Debian and its relatives; elsewhere nobody says so.
fn package(path: &Path) -> Option<(String, String)> {
    let real = path.canonicalize().ok()?;
    [path, &real].into_iter().find_map(|path| {
        let owner = quiet(program("dpkg-query", &["--search"]).arg(path))?;
        let name = owner.split(": ").next()?.split(',').next()?.to_owned();
        let version = quiet(&mut program("dpkg-query", &["--show", "--showformat=${Version}", &name]))?;
        Some((name.split(':').next()?.to_owned(), version))
    })
}

/// Standard output, if the program is there and ends well.
fn quiet(command: &mut std::process::Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_taken_out_of_what_ldd_says() {
        let told = "\tlinux-vdso.so.1 (0x00007f)\n\tlibc.so.6 => /lib/x/libc.so.6 (0x00007f)\n\t/lib64/ld.so.2 (0x00007f)\n";
        assert_eq!(
            paths(told),
            [PathBuf::from("/lib/x/libc.so.6"), PathBuf::from("/lib64/ld.so.2")]
        );
    }
}
