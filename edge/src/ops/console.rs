//! The console's files, built into the binary.

use bytes::Bytes;

macro_rules! files {
    ($($name:literal)*) => {
        const FILES: &[(&str, &[u8])] =
            &[$(($name, include_bytes!(concat!("../../console/", $name)).as_slice()),)*];
    };
}

files! {
    "airports.js" "board.css" "board.js" "channel.js" "console.css" "console.js" "cut.js" "flap.js"
    "flights.js" "incidents.js" "index.html" "info.js" "link.js" "meridian.js" "panel.js" "regions.js"
    "samples.js" "spark.js" "words.js"
}

/// A file by its path, with its media type.
pub(super) fn file(path: &str) -> Option<(&'static str, Bytes)> {
    let wanted = if path == "/" { "index.html" } else { path.strip_prefix('/')? };
    let (name, body) = FILES.iter().find(|(name, _)| *name == wanted)?;
    let media_type = match name.rsplit_once('.')?.1 {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        _ => "text/javascript; charset=utf-8",
    };
    Some((media_type, Bytes::from_static(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_built_in() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/console");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        let built: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        assert_eq!(built, there);
        assert_eq!(file("/").unwrap().0, "text/html; charset=utf-8");
        assert!(file("/../Cargo.toml").is_none());
    }
}
