//! What a listener serves to ordinary HTTP requests: nothing, the lamp page inside the binary, or a directory of files.

use std::{
    path::{Component, Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;

use crate::{config, transport::http};

/// The largest file served from a directory.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// The pages a listener's configuration asks for.
pub fn from_config(pages: &config::Pages) -> Arc<dyn http::Pages> {
    match pages {
        config::Pages::None => Arc::new(http::NoPages),
        config::Pages::Lamp => Arc::new(Lamp),
        config::Pages::Directory(root) => Arc::new(Directory { root: root.clone() }),
    }
}

struct Lamp;

impl http::Pages for Lamp {
    fn get(&self, path: &str) -> Option<(String, Bytes)> {
        let (content_type, text) = match path {
            "/" | "/index.html" => ("text/html; charset=utf-8", include_str!("../pages/index.html")),
            "/lamp.js" => ("text/javascript; charset=utf-8", include_str!("../pages/lamp.js")),
            _ => return None,
        };
        Some((content_type.to_owned(), Bytes::from_static(text.as_bytes())))
    }
}

struct Directory {
    root: PathBuf,
}

impl http::Pages for Directory {
    /// Names are taken literally: no percent-decoding, and no component that leads out of the directory.
    fn get(&self, path: &str) -> Option<(String, Bytes)> {
        let relative = Path::new(path.strip_prefix('/')?);
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            return None;
        }
        let mut file = self.root.join(relative);
        if file.is_dir() {
            file.push("index.html");
        }
        // A link may lead anywhere; what it leads to has to lie below the directory.
        let file = file.canonicalize().ok()?;
        if !file.starts_with(self.root.canonicalize().ok()?) || file.metadata().ok()?.len() > FILE_BYTES_MAX {
            return None;
        }
        let content = std::fs::read(&file).ok()?;
        Some((content_type(&file).to_owned(), content.into()))
    }
}

fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|ending| ending.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("json") => "application/json",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("jpg" | "jpeg") => "image/jpeg",
        Some("ico") => "image/x-icon",
        Some("txt") => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_serves_what_lies_in_it_and_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("pages");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("index.html"), "<p>").unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), root.join("link")).unwrap();
        let pages = from_config(&config::Pages::Directory(root));
        let (content_type, content) = pages.get("/").unwrap();
        assert_eq!(
            (content_type.as_str(), content.as_ref()),
            ("text/html; charset=utf-8", b"<p>".as_slice())
        );
        for path in ["/../secret", "//etc/passwd", "/link", "/none", "secret", "/./index.html/.."] {
            assert_eq!(pages.get(path), None, "{path}");
        }
    }

    #[test]
    fn the_lamp_page_and_its_script_are_in_the_binary() {
        let pages = from_config(&config::Pages::Lamp);
        assert!(pages.get("/").unwrap().0.starts_with("text/html"));
        assert!(pages.get("/lamp.js").unwrap().0.starts_with("text/javascript"));
        assert_eq!(pages.get("/other"), None);
    }
}
