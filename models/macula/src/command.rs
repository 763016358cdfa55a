//! What the program does, a command each, and the options that several share.

pub(crate) mod openapi;
pub(crate) mod score;
pub(crate) mod serve;
pub(crate) mod training;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clap::Args;
use gatherers::{Clock, Config, Gatherers};
use indicator_model::LiveModel;
use indicator_training::lexical::LexicalSource;
use macula::CacheSettings;
use macula::analyst::Analyst;
use macula::decay::Decay;
use macula::judgement::Policy;
use macula::model_mirror::ModelMirror;
use macula::pivot::PivotPolicy;
use macula::scorer::Scorer;
use object_place::Place;
use threat_lists::{Library, Limits, Lists, Settings};

/// By what is scored.
#[derive(Debug, Args)]
pub(crate) struct Scoring {
    /// The folder with the lists, or its URL (hdfs://…, s3://…): whitelist*, blacklist* and darklist* and feeds/*, each as
    /// .txt, .csv or .json (MISP warninglist, STIX 2.1 bundle).
    #[arg(long, value_name = "PLACE", default_value = "lists")]
    lists: String,
    /// Where the entries of long lists are kept, in files without a name, and models of other places [default: the folder for
    /// temporary files]
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// What the lists must be, as `sha256sum` writes it (`DIGEST  feeds/a.txt`): one that has another digest is not taken, nor is
    /// a whitelist or blacklist that is not named.
    #[arg(long, value_name = "FILE")]
    list_checksums: Option<PathBuf>,
    /// The part, from 0 to 1, that a list may lose at once when it is reloaded.
    #[arg(long, value_name = "PART", default_value_t = Limits::default().shrink, value_parser = part_value)]
    max_shrink: f64,
    /// How many times as long a list may get at once when it is reloaded.
    #[arg(long, value_name = "TIMES", default_value_t = Limits::default().growth, value_parser = times_value)]
    max_growth: f64,
    /// The folder of a model, or its URL (`file:///models/names`, `s3://bucket/names`, `hdfs://namenode:8020/names`); may be given for each kind of
    /// indicators. A new one there is taken when it is whole and right.
    #[arg(long = "model", value_name = "PLACE")]
    models: Vec<PathBuf>,
    /// Where the models go that were replaced, so that there is a way back.
    #[arg(long, value_name = "DIR", requires = "models")]
    model_archive: Option<PathBuf>,
    /// The settings of those who gather what models and the domain pivot want to know (TOML); without them, only the text of
    /// names is looked at.
    #[arg(long, value_name = "FILE")]
    gatherers: Option<PathBuf>,
    /// The score, 0 to 99, of what nobody has an opinion about.
    #[arg(long, value_name = "SCORE", default_value_t = Policy::default().neutral_score, value_parser = score_value)]
    neutral_score: f64,
    /// The score from which on the verdict is malicious.
    #[arg(long, value_name = "SCORE", default_value_t = Policy::default().malicious_from, value_parser = score_value)]
    malicious_from: f64,
    /// How many days back a domain of an address was seen there for the domain pivot to look at it.
    #[arg(long, value_name = "DAYS", default_value_t = PivotPolicy::default().recent_days)]
    pivot_days: u16,
    /// Any whitelisted domain clears its address, and not only one of a whitelist with `#! class: owned`.
    #[arg(long)]
    any_domain_clears: bool,
    /// A feed or darklist that names an address wins over a domain that clears it.
    #[arg(long)]
    strict_pivot: bool,
    /// After how many days a report of a feed counts no more.
    #[arg(long, value_name = "DAYS", default_value_t = Decay::default().lifetime_days)]
    feed_lifetime: u16,
    /// How fast a feed's report loses weight at first; 1 is a straight line.
    #[arg(long, value_name = "SPEED", default_value_t = Decay::default().speed, value_parser = speed_value)]
    feed_speed: f64,
    /// After how many days a report of a darklist counts no more.
    #[arg(long, value_name = "DAYS", default_value_t = Decay::default().lifetime_days)]
    darklist_lifetime: u16,
    /// How fast a darklist's report loses weight at first.
    #[arg(long, value_name = "SPEED", default_value_t = Decay::default().speed, value_parser = speed_value)]
    darklist_speed: f64,
}

/// A model and what fetches it from elsewhere.
pub(crate) type Mirrored = (ModelMirror, Arc<LiveModel>);

impl Scoring {
    /// Reads the lists.
    pub(crate) async fn library(&self) -> Result<Library> {
        let settings = Settings {
            limits: Limits {
                shrink: self.max_shrink,
                growth: self.max_growth,
            },
            scratch: self.scratch(),
            checksums: self.list_checksums.clone(),
        };
        Library::open(&self.lists, settings)
            .await
            .context("could not load the lists")
    }

    /// Opens the models, if there are any, and what gathers for them.
    /// Those of other places are fetched; they are there for as long as their mirrors are.
    pub(crate) async fn analyst(&self) -> Result<(Option<Arc<Analyst>>, Vec<Mirrored>)> {
        if self.models.is_empty() && self.gatherers.is_none() {
            return Ok((None, Vec::new()));
        }
        let config = match &self.gatherers {
            None => Config::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .with_context(|| format!("could not read `{}`", path.display()))?;
                toml::from_str(&text)
                    .with_context(|| format!("could not understand `{}`", path.display()))?
            }
        };
        let lexical = Arc::new(LexicalSource);
        let gatherers = Gatherers::start(&config, vec![lexical], Clock::system())
            .await
            .context("could not start the gatherers")?;
        let place = |model: &PathBuf| {
            let folder = model.to_str().and_then(Place::folder);
            folder.unwrap_or_else(|| model.clone())
        };
        let places: Vec<PathBuf> = self.models.iter().map(place).collect();
        let mut names: Vec<_> = places.iter().map(|folder| folder.file_name()).collect();
        names.sort_unstable();
        names.dedup();
        if self.model_archive.is_some() && names.len() < places.len() {
            bail!("with --model-archive the models' folders must have different names");
        }
        let (mut models, mut mirrors) = (Vec::new(), Vec::new());
        for place in &places {
            let failed = || format!("could not load the model in `{}`", place.display());
            let mirror = match place.to_str().filter(|place| Place::is_remote(place)) {
                Some(url) => {
                    Some((ModelMirror::open(url, &self.scratch()).await).with_context(failed)?)
                }
                None => None,
            };
            let folder = mirror.as_ref().map_or(place.as_path(), ModelMirror::folder);
            let name = place.file_name().unwrap_or_default();
            let archive = self.model_archive.as_ref().map(|folder| folder.join(name));
            let model = LiveModel::open(folder.to_owned(), archive, Clock::system());
            let model = Arc::new(model.with_context(failed)?);
            mirrors.extend(mirror.map(|mirror| (mirror, Arc::clone(&model))));
            models.push(model);
        }
        let (mut kinds, mut names) = (BTreeSet::new(), BTreeSet::new());
        for (model, folder) in models.iter().zip(&places) {
            let model = model.current();
            let (kind, name) = (model.manifest().kind, &model.manifest().name);
            if !names.insert(name.clone()) {
                bail!(
                    "the model in `{}` is called `{name}`, and so is one before it: nobody could tell which is meant; give it another \
                     name with `macula train --name`",
                    folder.display()
                );
            }
            if !kinds.insert(kind) {
                bail!(
                    "the model in `{}` is for indicators of kind `{}`, and so is one before it; only one would be asked",
                    folder.display(),
                    kind.name()
                );
            }
        }
        let analyst = Analyst::new(Arc::new(gatherers), models);
        Ok((Some(Arc::new(analyst)), mirrors))
    }

    fn scratch(&self) -> PathBuf {
        self.scratch.clone().unwrap_or_else(std::env::temp_dir)
    }

    pub(crate) fn scorer(
        &self,
        lists: Arc<Lists>,
        analyst: Option<Arc<Analyst>>,
        cache: CacheSettings,
    ) -> Scorer {
        let policy = Policy {
            neutral_score: self.neutral_score,
            malicious_from: self.malicious_from,
            feed_decay: Decay {
                lifetime_days: self.feed_lifetime,
                speed: self.feed_speed,
            },
            darklist_decay: Decay {
                lifetime_days: self.darklist_lifetime,
                speed: self.darklist_speed,
            },
            pivot: PivotPolicy {
                recent_days: self.pivot_days,
                any_entry_clears: self.any_domain_clears,
            },
            strict_pivot: self.strict_pivot,
            ..Policy::default()
        };
        let scorer = Scorer::new(lists, policy, cache);
        match analyst {
            Some(analyst) => scorer.with_analyst(analyst),
            None => scorer,
        }
    }
}

/// Prints to standard output; that its reader went away is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("could not print")
        }
        _ => Ok(()),
    }
}

fn score_value(text: &str) -> Result<f64, String> {
    let score = text
        .parse()
        .ok()
        .filter(|score| (0.0..=99.0).contains(score));
    score.ok_or_else(|| "expected a number from 0 to 99".to_owned())
}

fn part_value(text: &str) -> Result<f64, String> {
    let part = text.parse().ok().filter(|part| (0.0..=1.0).contains(part));
    part.ok_or_else(|| "expected a number from 0 to 1".to_owned())
}

fn times_value(text: &str) -> Result<f64, String> {
    let times = text.parse().ok().filter(|times| *times >= 1.0);
    times.ok_or_else(|| "expected a number from 1 on".to_owned())
}

fn speed_value(text: &str) -> Result<f64, String> {
    let speed = text
        .parse()
        .ok()
        .filter(|speed| (0.01..=100.0).contains(speed));
    speed.ok_or_else(|| "expected a number from 0.01 to 100".to_owned())
}
