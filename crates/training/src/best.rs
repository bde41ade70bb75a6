//! The best model so far: `best/` with its measurement in `best.json`.

use anyhow::{Context, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// A measurement that says which of a run's models is the best.
#[derive(Debug, Clone)]
pub struct Score {
    /// Key of the number in `record`.
    pub name: &'static str,
    /// Whether larger numbers are better; smaller ones otherwise.
    pub is_larger_better: bool,
    /// What `best.json` says of the model; under `name` the number that is compared.
    pub record: Map<String, Value>,
}

impl Score {
    /// By one of these values; nothing where it is not among them.
    pub fn of(name: &'static str, is_larger_better: bool, values: &[(String, f64)]) -> Option<Self> {
        let record: Map<String, Value> = values.iter().map(|(name, value)| (name.clone(), (*value).into())).collect();
        record.contains_key(name).then_some(Self { name, is_larger_better, record })
    }

    fn number(&self, record: &Map<String, Value>) -> Option<f64> {
        record.get(self.name).and_then(Value::as_f64)
    }

    /// Whether this model beats the one that `earlier` records. A number that is none never does.
    fn beats(&self, earlier: Option<&Map<String, Value>>) -> bool {
        let Some(own) = self.number(&self.record) else { return false };
        match earlier.and_then(|earlier| self.number(earlier)) {
            Some(earlier) if self.is_larger_better => own > earlier,
            Some(earlier) => own < earlier,
            None => true,
        }
    }
}

/// Keeps `best.json`.
#[derive(Debug)]
pub(crate) struct Best {
    record: Option<Map<String, Value>>,
    path: PathBuf,
}

impl Best {
    /// What an earlier session of the run left.
    ///
    /// # Errors
    /// A damaged file.
    pub(crate) fn open(run: &Path) -> Result<Self> {
        let path = run.join("best.json");
        let record = match std::fs::read_to_string(&path) {
            Ok(text) => {
                let record = serde_json::from_str(&text);
                Some(record.with_context(|| format!("the file is damaged, delete it: {}", path.display()))?)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("the file cannot be read: {}", path.display())),
        };
        Ok(Self { record, path })
    }

    /// Images seen by the best model.
    pub(crate) fn images_seen(&self) -> Option<u64> {
        self.record.as_ref()?.get("images_seen")?.as_u64()
    }

    /// Exports and records a model that beats the one before.
    ///
    /// # Errors
    /// Those of `export`, and a disk that is full.
    pub(crate) fn offer(
        &mut self,
        images_seen: u64,
        score: Score,
        export: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<()> {
        if !score.beats(self.record.as_ref()) {
            return Ok(());
        }
        export(&self.path.with_extension(""))?;
        let mut record = Map::from_iter([("images_seen".to_owned(), images_seen.into())]);
        record.extend(score.record);
        files::write_file(&self.path, serde_json::to_string_pretty(&record)?.as_bytes())?;
        self.record = Some(record);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(value: f64, is_larger_better: bool) -> Score {
        let record = Map::from_iter([("quality".to_owned(), value.into())]);
        Score { name: "quality", is_larger_better, record }
    }

    #[test]
    fn only_a_better_model_takes_the_place_and_a_later_session_knows_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut kept = Vec::new();
        for (images_seen, value) in [(1, 0.5), (2, 0.4), (3, f64::NAN), (4, 0.6), (5, 0.6)] {
            // Each in a session of its own.
            let mut best = Best::open(folder.path()).unwrap();
            best.offer(images_seen, score(value, true), |path| {
                assert!(path.ends_with("best"));
                kept.push(images_seen);
                Ok(())
            })
            .unwrap();
        }
        assert_eq!(kept, [1, 4]);
        let mut best = Best::open(folder.path()).unwrap();
        assert_eq!(best.images_seen(), Some(4));
        best.offer(6, score(0.1, false), |_| Ok(())).unwrap();
        assert_eq!(best.images_seen(), Some(6));
        let failed = best.offer(7, score(0.0, false), |_| anyhow::bail!("no"));
        assert!(failed.is_err() && best.images_seen() == Some(6));
        std::fs::write(folder.path().join("best.json"), "{").unwrap();
        assert!(Best::open(folder.path()).unwrap_err().to_string().contains("damaged"));
    }
}
