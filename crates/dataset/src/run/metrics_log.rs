//! `metrics.jsonl`: one JSON object a line, `{"step": 10, "images_seen": 320, "loss": 0.5}`.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::{Error, Result};
use files::AtomicFile;

/// The log of a run's numbers, flushed line by line.
#[derive(Debug)]
pub struct MetricsLog {
    file: File,
    path: PathBuf,
}

impl MetricsLog {
    /// Opens the log at `path` to continue after `resumed_step`. Rows of later steps, and a line cut short by a kill,
    /// are removed: the steps are about to happen again.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(path: impl AsRef<Path>, resumed_step: u64) -> Result<Self> {
        let path = path.as_ref().to_path_buf();
        if path.exists() {
            truncate(&path, resumed_step)?;
        }
        let file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(Error::io("write the file", &path))?;
        Ok(Self { file, path })
    }

    /// Adds a row. JSON has no infinities: values that are not finite become `null`.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn append(&mut self, step: u64, images_seen: u64, values: &[(&str, f64)]) -> Result<()> {
        let mut row = Map::new();
        row.insert("step".into(), step.into());
        row.insert("images_seen".into(), images_seen.into());
        row.extend(values.iter().map(|&(name, value)| (name.to_owned(), Value::from(value))));
        let mut line = Value::Object(row).to_string();
        line.push('\n');
        // One write per line, so that a kill leaves at most one line unfinished.
        self.file.write_all(line.as_bytes()).map_err(Error::io("write the file", &self.path))
    }

    /// The rows of the log at `path`, in order; a last line cut short by a kill is left out.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn read(path: impl AsRef<Path>) -> Result<Vec<Map<String, Value>>> {
        let path = path.as_ref();
        let file = File::open(path).map_err(Error::io("read the metrics", path))?;
        let mut rows = Vec::new();
        for line in BufReader::new(file).split(b'\n') {
            let line = line.map_err(Error::io("read the metrics", path))?;
            rows.extend(serde_json::from_slice::<Map<String, Value>>(&line));
        }
        Ok(rows)
    }
}

/// Rewrites the log without the rows after `last_step`.
fn truncate(path: &Path, last_step: u64) -> Result<()> {
    let mut kept = AtomicFile::create(path)?;
    for row in MetricsLog::read(path)? {
        if row.get("step").and_then(Value::as_u64).is_some_and(|step| step <= last_step) {
            writeln!(kept, "{}", Value::Object(row)).map_err(Error::io("write the file", path))?;
        }
    }
    Ok(kept.commit()?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Wherever a kill cuts the last line, it is left out, and what is added stands on a line of its own.
    #[test]
    fn a_line_that_a_kill_tore_anywhere_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut log = MetricsLog::open(&path, 0).unwrap();
        log.append(1, 32, &[("loss", 0.5)]).unwrap();
        let before = fs::read(&path).unwrap().len();
        log.append(2, 64, &[("loss", 0.25), ("dür", 1.0)]).unwrap();
        let whole = fs::read(&path).unwrap();
        for cut in before..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            // All but the line break is a whole line for readers.
            let num_read = MetricsLog::read(&path).unwrap().len();
            assert_eq!(num_read, if cut == whole.len() - 1 { 2 } else { 1 });
            let mut resumed = MetricsLog::open(&path, 1).unwrap();
            resumed.append(2, 64, &[("loss", 0.125)]).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let losses: Vec<f64> = text
                .lines()
                .map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64().unwrap())
                .collect();
            assert_eq!(losses, [0.5, 0.125], "cut at {cut}");
        }
    }

    #[test]
    fn resuming_removes_later_rows_and_a_line_cut_short() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let mut log = MetricsLog::open(&path, 0).unwrap();
        for step in 1..=5 {
            log.append(step, step * 32, &[("loss", 0.1 * step as f64), ("bad", f64::NAN)]).unwrap();
        }
        drop(log);
        let whole = fs::read_to_string(&path).unwrap();
        assert!(whole.starts_with("{\"bad\":null,\"images_seen\":32,\"loss\":0.1,\"step\":1}\n"), "{whole}");
        fs::write(&path, format!("{whole}{{\"step\": 3, \"los")).unwrap();
        let mut log = MetricsLog::open(&path, 3).unwrap();
        log.append(4, 128, &[("loss", 9.0)]).unwrap();
        let rows = MetricsLog::read(&path).unwrap();
        assert_eq!(rows.iter().map(|row| row["step"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert_eq!(rows[3]["loss"], 9.0);
        // Numbers survive being rewritten bit by bit.
        assert_eq!(rows[2]["loss"].as_f64().unwrap(), 0.1 * 3.0);
    }
}
