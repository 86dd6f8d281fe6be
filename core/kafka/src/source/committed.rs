//! What stands beside a committed offset: `1 GENERATION TOPIC_ID running|paused`. Pure.

use meridian_core::seams::SourceCommit;

/// The note of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) generation: u32,
    pub(super) topic_id: String,
    pub(super) paused: bool,
}

pub(super) fn write(commit: SourceCommit, topic_id: &str) -> String {
    let state = if commit.paused { "paused" } else { "running" };
    format!("1 {} {topic_id} {state}", commit.generation)
}

/// `None`: no bridge wrote it.
pub(super) fn read(note: &str) -> Option<Note> {
    let parts: Vec<&str> = note.split(' ').collect();
    let ["1", generation, topic_id, state] = parts[..] else { return None };
    let paused = match state {
        "paused" => true,
        "running" => false,
        _ => return None,
    };
    Some(Note { generation: generation.parse().ok()?, topic_id: topic_id.to_owned(), paused })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is stored is dear to change: brokers hold such notes.
    #[test]
    fn golden_text() {
        let text = write(SourceCommit { generation: 7, next: 3, paused: true }, "abc_-");
        assert_eq!(text, "1 7 abc_- paused");
        let note = Note { generation: 7, topic_id: "abc_-".to_owned(), paused: true };
        assert_eq!(read(&text), Some(note));
        for bad in ["", "1 7 abc", "2 7 abc running", "1 x abc running", "1 7 abc halted"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
