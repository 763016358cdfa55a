//! The commands: `gather`, `enrich`, `select`, `train`, `evaluate` and `export`, and the one that does the first two at once as
//! `ml_eval -t trainingset -f raw-out -r enriched-out` always did.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use boosted_trees::{Predictor, xgboost};
use clap::{Args, Subcommand, ValueEnum};
use dga::corpus::{CorpusError, List};
use futures_util::StreamExt;
use gatherers::{Clock, Config, Gatherers, Span, StartError, SubjectForm};
use indicator_model::{Bundle, BundleError, IndicatorModel, ModelError, ModelKind, Tells};
use indicators::Indicator;
use model_evaluation::calibration::Calibration;
use model_evaluation::metrics::Scores;
use serde::Serialize;

use crate::evaluation;
use crate::gathering::{Holes, Persistence};
use crate::labelled::{self, Label, Labelled, LabelledError};
use crate::lexical::LexicalSource;
use crate::quality::{Above, Judged, Quality, QualityAbove};
use crate::report::{self, Measured};
use crate::rows::{self, Row, RowsError};
use crate::selection;
use crate::training::{self, About, LearnError, Learned, Recipe};

/// How long questions under way are waited for at the end.
const GRACE: std::time::Duration = std::time::Duration::from_secs(10);

/// One step from a labelled set to a model.
#[derive(Clone, Debug, Subcommand)]
pub enum Step {
    /// Gather what is known about a labelled set
    Gather(GatherArgs),
    /// Add what the text of each indicator tells
    Enrich {
        /// The gathered rows
        #[arg(short = 'f', long)]
        raw: PathBuf,
        /// Where the enriched rows go
        #[arg(short = 'r', long)]
        enriched: PathBuf,
        /// Names to be left out of what is familiar
        #[command(flatten)]
        counted: Counted,
    },
    /// Show which features are worth having
    Select {
        /// The enriched rows
        #[arg(short = 'r', long)]
        rows: PathBuf,
        /// How the model would be made
        #[command(flatten)]
        recipe: RecipeArgs,
    },
    /// Make a model and say how good it is
    Train(TrainArgs),
    /// Measure a model on rows it has not learned from; or, without a model, how it would be made: on folds of the rows, and on
    /// each family of theirs left out of training
    Evaluate(EvaluateArgs),
    /// Write the trees of a model as XGBoost's JSON
    Export {
        /// The model's folder
        #[arg(short, long)]
        model: PathBuf,
        /// The file
        #[arg(short, long)]
        out: PathBuf,
    },
}

/// What is gathered.
#[derive(Args, Clone, Debug)]
pub struct GatherArgs {
    /// The labelled set: `indicator,label` lines, or NDJSON. A heading may name further columns (fields, in NDJSON): `weight`, how
    /// much an indicator counts in training, and `training_only`, whether it is only learned from and no fold is measured on it
    #[arg(short = 't', long)]
    trainingset: PathBuf,
    /// The column of its heading, or its field, that names the family of each indicator
    #[arg(long, value_name = "COLUMN", default_value = labelled::FAMILY)]
    group: String,
    /// Where the gathered rows go; until all are there, they are in a file called so with `.part` behind it
    #[arg(short = 'f', long)]
    raw: PathBuf,
    /// The gatherers' settings (TOML); without them, only what needs nobody
    #[arg(long)]
    settings: Option<PathBuf>,
    /// How many indicators are asked about at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: u16,
    /// How long to wait when all quotas are used up and no source lets itself be asked any more
    #[arg(long, value_name = "TIME", default_value = "10min")]
    patience: Span,
    /// Take rows also where sources did not let themselves be asked
    #[arg(long)]
    allow_missing: bool,
}

/// The old form of the first two steps.
#[derive(Args, Clone, Debug)]
pub struct MlEvalArgs {
    #[command(flatten)]
    gather: GatherArgs,
    /// Where the enriched rows go
    #[arg(short = 'r', long)]
    enriched: PathBuf,
    #[command(flatten)]
    counted: Counted,
}

/// Names that are familiar for having been counted themselves.
#[derive(Args, Clone, Debug)]
pub struct Counted {
    /// The list of real names that the DGA detector's tables were made of: each of these names is looked at as if it had not
    /// been counted
    #[arg(long, value_name = "LIST")]
    counted: Option<PathBuf>,
}

impl Counted {
    fn labels(&self) -> Result<HashSet<String>, CommandError> {
        let Some(path) = &self.counted else {
            return Ok(HashSet::new());
        };
        let list = List::read(path).map_err(CommandError::Counted)?;
        Ok(list.labels.into_iter().collect())
    }
}

/// What is measured.
#[derive(Args, Clone, Debug)]
pub struct EvaluateArgs {
    /// The model's folder; without it, models are made of the rows and measured on those left out
    #[arg(short, long, conflicts_with_all = ["smallest_family", "rounds", "depth", "eta", "lambda", "min_child_weight", "subsample", "colsample", "keep_gain", "without", "folds", "seed"])]
    model: Option<PathBuf>,
    /// The enriched rows; those of a family left out are the malicious ones with the same `family`
    #[arg(short = 'r', long)]
    rows: PathBuf,
    /// Where the report goes (HTML)
    #[arg(long)]
    report: Option<PathBuf>,
    /// How many malicious rows a family must have to be left out
    #[arg(long, value_name = "ROWS", default_value_t = 10)]
    smallest_family: usize,
    /// Tell the figures also of those rows alone whose feature is above a number
    #[arg(long, value_name = "FEATURE=NUMBER")]
    above: Option<Above>,
    #[command(flatten)]
    recipe: RecipeArgs,
}

/// How a model is made.
#[derive(Args, Clone, Debug)]
pub struct RecipeArgs {
    /// How many trees
    #[arg(long, default_value_t = Recipe::default().rounds)]
    rounds: usize,
    /// How deep
    #[arg(long, default_value_t = Recipe::default().max_depth)]
    depth: usize,
    /// By how much each tree's answer is shrunk
    #[arg(long, default_value_t = Recipe::default().eta)]
    eta: f64,
    /// How strongly leaves are drawn to zero
    #[arg(long, default_value_t = Recipe::default().lambda)]
    lambda: f64,
    /// The weight (sum of hessians) each side of a split has to keep
    #[arg(long, value_name = "WEIGHT", default_value_t = Recipe::default().min_child_weight)]
    min_child_weight: f64,
    /// The share of the rows each tree sees
    #[arg(long, value_name = "SHARE", default_value_t = Recipe::default().subsample)]
    subsample: f64,
    /// The share of the columns each tree may use
    #[arg(long, value_name = "SHARE", default_value_t = Recipe::default().colsample)]
    colsample: f64,
    /// The share of the gain that the features kept make up
    #[arg(long, default_value_t = Recipe::default().keep_gain)]
    keep_gain: f64,
    /// A feature not to look at; may be given more than once
    #[arg(long, value_name = "FEATURE")]
    without: Vec<Arc<str>>,
    /// How many folds
    #[arg(long, default_value_t = Recipe::default().folds)]
    folds: usize,
    /// For everything random
    #[arg(long, default_value_t = Recipe::default().seed)]
    seed: u64,
}

/// What is trained.
#[derive(Args, Clone, Debug)]
pub struct TrainArgs {
    /// The enriched rows
    #[arg(short = 'r', long)]
    rows: PathBuf,
    /// The folder the model goes into
    #[arg(short, long)]
    out: PathBuf,
    /// For which indicators it is
    #[arg(long, value_enum)]
    kind: Kind,
    /// What it can tell: with `malicious`, that it finds nothing is no opinion
    #[arg(long, value_enum, default_value_t)]
    tells: TellsArg,
    /// Its name
    #[arg(long, default_value = "macula")]
    name: String,
    /// Its version
    #[arg(long, default_value = "1")]
    model_version: String,
    /// The share of features without which its answer says little
    #[arg(long, default_value_t = 0.3)]
    minimum_coverage: f64,
    /// Where the report goes (HTML)
    #[arg(long)]
    report: Option<PathBuf>,
    /// Tell the figures also of those rows alone whose feature is above a number
    #[arg(long, value_name = "FEATURE=NUMBER")]
    above: Option<Above>,
    #[command(flatten)]
    recipe: RecipeArgs,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum TellsArg {
    #[default]
    Both,
    Malicious,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Ip,
    Domain,
}

impl RecipeArgs {
    fn recipe(&self) -> Recipe {
        Recipe {
            rounds: self.rounds,
            max_depth: self.depth,
            eta: self.eta,
            lambda: self.lambda,
            min_child_weight: self.min_child_weight,
            subsample: self.subsample,
            colsample: self.colsample,
            keep_gain: self.keep_gain,
            without: self.without.clone(),
            folds: self.folds,
            seed: self.seed,
        }
    }
}

/// Does one step. What it found out goes to `out`, how far it is to standard error. Apart from gathering it computes all the time:
/// its thread does nothing else meanwhile.
///
/// # Errors
/// Says which file or row is to blame.
pub async fn run(step: Step, out: &mut (impl Write + Send)) -> Result<(), CommandError> {
    match step {
        Step::Gather(args) => gather(&args).await.map(drop),
        Step::Enrich {
            raw,
            enriched,
            counted,
        } => {
            let counted = counted.labels()?;
            enrich(rows::read(&raw)?, &counted, &enriched)
        }
        Step::Select { rows, recipe } => select(&rows, &recipe.recipe(), out),
        Step::Train(args) => train(&args, out),
        Step::Evaluate(args) => match &args.model {
            Some(model) => measure(model, &args, out),
            None => evaluate(&args, out),
        },
        Step::Export { model, out } => export(&model, &out),
    }
}

/// Gathers and enriches at once.
///
/// # Errors
/// Says which file or row is to blame.
pub async fn run_ml_eval(args: MlEvalArgs) -> Result<(), CommandError> {
    let counted = args.counted.labels()?;
    let rows = gather(&args.gather).await?;
    enrich(rows, &counted, &args.enriched)
}

async fn gather(args: &GatherArgs) -> Result<Vec<Row>, CommandError> {
    let text = read(&args.trainingset)?;
    let labelled =
        labelled::parse(&text, &args.group).map_err(|source| CommandError::Labelled {
            path: args.trainingset.clone(),
            source,
        })?;
    let config = match &args.settings {
        Some(path) => Config::parse(&read(path)?).map_err(|source| CommandError::Settings {
            path: path.clone(),
            source: Box::new(source),
        })?,
        None => Config::default(),
    };
    let lexical = Arc::new(LexicalSource);
    let gatherers = Gatherers::start(&config, vec![lexical], Clock::system()).await?;
    let persistence = Persistence::new(args.patience.0);
    let (of, mut rows) = (labelled.len(), Vec::new());
    let asked = labelled.into_iter().map(|one| {
        let (gatherers, persistence) = (&gatherers, &persistence);
        async move {
            let Labelled {
                indicator,
                label,
                family,
                weight,
                training_only,
            } = one;
            Row {
                label,
                family,
                weight,
                training_only,
                gathered: persistence.gather(gatherers, &indicator).await,
            }
        }
    });
    let mut asked = futures_util::stream::iter(asked).buffered(args.concurrency.into());
    if let Some(old) = rows::keep_part(&args.raw)? {
        let old = old.display();
        drop(writeln!(
            io::stderr(),
            "`{old}` holds what a run before this one had gathered when it was interrupted"
        ));
    }
    let mut writer = rows::Writer::create(&args.raw)?;
    while let Some(row) = asked.next().await {
        writer.add(&row)?;
        writer.flush()?;
        rows.push(row);
        progress("gathered", rows.len(), of);
    }
    drop(asked);
    gatherers.stop(GRACE).await;
    writer.finish()?;
    let holes = Holes::of(&rows);
    if holes.are_our_own() && !args.allow_missing {
        return Err(CommandError::Holes {
            path: args.raw.clone(),
            holes,
        });
    }
    if !holes.is_empty() {
        drop(writeln!(io::stderr(), "missing: {holes}"));
    }
    Ok(rows)
}

fn enrich(mut rows: Vec<Row>, counted: &HashSet<String>, path: &Path) -> Result<(), CommandError> {
    rows.iter_mut().for_each(|row| row.enrich(counted));
    Ok(rows::write(path, &rows)?)
}

fn learn<'r>(rows: &'r [Row], recipe: &Recipe) -> Result<Learned<'r>, LearnError> {
    training::learn(rows, recipe, |done, of| progress("learned", done, of))
}

fn select(path: &Path, recipe: &Recipe, out: &mut impl Write) -> Result<(), CommandError> {
    let rows = rows::read(path)?;
    let learned = learn(&rows, recipe)?;
    let mut kept = learned.importance;
    kept.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    for (name, share) in &kept {
        writeln!(out, "{:6.2} %  {name}", share * 100.0).map_err(CommandError::Output)?;
    }
    let everything = selection::contract_of(&rows).map_err(LearnError::from)?;
    for feature in everything.features() {
        let why = match &feature.name {
            name if kept.iter().any(|(kept, _)| kept == name) => continue,
            name if recipe.without.contains(name) => "left out",
            _ => " dropped",
        };
        writeln!(out, "{why}  {}", feature.name).map_err(CommandError::Output)?;
    }
    Ok(())
}

fn train(args: &TrainArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let recipe = args.recipe.recipe();
    let rows = rows::read(&args.rows)?;
    let kind = match args.kind {
        Kind::Ip => ModelKind::Ip,
        Kind::Domain => ModelKind::Domain,
    };
    check_kind(&rows, kind, &args.rows)?;
    let learned = learn(&rows, &recipe)?;
    let above = learned.above(args.above.as_ref())?;
    let about = About {
        name: args.name.clone(),
        version: args.model_version.clone(),
        kind,
        tells: match args.tells {
            TellsArg::Both => Tells::Both,
            TellsArg::Malicious => Tells::Malicious,
        },
        minimum_coverage: args.minimum_coverage,
    };
    let model = training::bundle(&learned, &rows, &recipe, &about, above.as_ref())?;
    model.bundle().write(&args.out)?;
    if let Some(path) = &args.report {
        let page = report::page(&Measured {
            title: &format!("{} {}", about.name, about.version),
            on: &format!("{} folds of the rows it was made of", recipe.folds),
            scores: &learned.scores,
            above: above.as_ref(),
            importance: &learned.importance,
        });
        write(path, page.as_bytes())?;
    }
    if let Some(caveat) = Calibration::caveat(&learned.scores) {
        drop(writeln!(io::stderr(), "{caveat}"));
    }
    tell(&Told::of(&learned.scores, above), out)
}

fn evaluate(args: &EvaluateArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let recipe = args.recipe.recipe();
    let rows = rows::read(&args.rows)?;
    let above = args.above.as_ref();
    let (evaluation, learned) =
        evaluation::evaluate(&rows, &recipe, above, args.smallest_family, progress)?;
    if let Some(path) = &args.report {
        let measured = Measured {
            title: "What a model of these rows is worth",
            on: &format!("{} folds of {}", recipe.folds, file_name(&args.rows)),
            scores: &learned.scores,
            above: evaluation.folds_above.as_ref(),
            importance: &learned.importance,
        };
        write(
            path,
            report::page_of_recipe(&measured, &evaluation).as_bytes(),
        )?;
    }
    if evaluation.unseen.is_empty() {
        let hint =
            "no family was left out: the rows name none (`family`), or none with enough rows";
        drop(writeln!(io::stderr(), "{hint}"));
    }
    tell(&evaluation, out)
}

fn measure(model: &Path, args: &EvaluateArgs, out: &mut impl Write) -> Result<(), CommandError> {
    let model = IndicatorModel::load(Bundle::read(model)?)?;
    let trees = model.bundle().trees(model.manifest())?;
    let predictor = Predictor::new(&trees);
    let read = rows::read(&args.rows)?;
    let manifest = model.manifest();
    check_kind(&read, manifest.kind, &args.rows)?;
    let measured: Vec<&Row> = read.iter().filter(|row| !row.training_only).collect();
    for label in [Label::Benign, Label::Malicious] {
        if !measured.iter().any(|row| row.label == label) {
            let path = args.rows.clone();
            return Err(CommandError::NoneOf { path, label });
        }
    }
    let has = |row: &Row, feature: &str| row.gathered.value(feature).is_some();
    let mut features = manifest.features.features().iter();
    if !features.any(|feature| measured.iter().any(|row| has(row, &feature.name))) {
        return Err(CommandError::NoFeature {
            path: args.rows.clone(),
            model: manifest.name.clone(),
        });
    }
    let margins = training::margins(&predictor, &model.manifest().features, &measured);
    let judged: Judged = measured.into_iter().zip(margins).collect();
    let scores = judged.scores();
    let above = args.above.as_ref().map(|above| judged.only(above));
    let above = above.transpose()?;
    if let Some(path) = &args.report {
        let page = report::page(&Measured {
            title: &format!("{} {}", model.manifest().name, model.manifest().version),
            on: &file_name(&args.rows),
            scores: &scores,
            above: above.as_ref(),
            importance: &[],
        });
        write(path, page.as_bytes())?;
    }
    tell(&Told::of(&scores, above), out)
}

/// Whether the rows may be for models of this kind. They are not if each of them is an indicator that such a model never judges.
fn check_kind(rows: &[Row], kind: ModelKind, path: &Path) -> Result<(), CommandError> {
    let other = match kind {
        ModelKind::Ip => SubjectForm::Name,
        ModelKind::Domain => SubjectForm::Ip,
    };
    let is_other = |row: &Row| {
        let indicator = row.gathered.indicator.parse::<Indicator>();
        indicator.is_ok_and(|indicator| other.of(&indicator).is_some())
    };
    if !rows.is_empty() && rows.iter().all(is_other) {
        let path = path.to_owned();
        return Err(CommandError::OtherKind { path, kind });
    }
    Ok(())
}

/// A file as a report names it. Where it lay is no business of whoever reads the report.
fn file_name(path: &Path) -> Cow<'_, str> {
    path.file_name().unwrap_or_default().to_string_lossy()
}

/// The figures of a model.
#[derive(Serialize)]
struct Told {
    #[serde(flatten)]
    quality: Quality,
    #[serde(skip_serializing_if = "Option::is_none")]
    above: Option<QualityAbove>,
}

impl Told {
    fn of(scores: &Scores, above: Option<QualityAbove>) -> Told {
        Told {
            quality: Quality::of(scores),
            above,
        }
    }
}

fn export(model: &Path, out: &Path) -> Result<(), CommandError> {
    let model = IndicatorModel::load(Bundle::read(model)?)?;
    let trees = model.bundle().trees(model.manifest())?;
    write(out, &xgboost::to_json(&trees))
}

fn tell(quality: &impl Serialize, out: &mut impl Write) -> Result<(), CommandError> {
    let text = serde_json::to_string_pretty(quality).map_err(|e| CommandError::Output(e.into()))?;
    writeln!(out, "{text}").map_err(CommandError::Output)
}

/// A line for every hundredth part. That nobody reads it is no failure.
fn progress(what: &str, done: usize, of: usize) {
    let hundredth = |done: usize| done * 100 / of.max(1);
    if done == of || hundredth(done) != hundredth(done.saturating_sub(1)) {
        drop(writeln!(io::stderr(), "{what} {done} of {of}"));
    }
}

fn read(path: &Path) -> Result<String, CommandError> {
    fs::read_to_string(path).map_err(|source| CommandError::File {
        path: path.into(),
        source,
    })
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    fs::write(path, bytes).map_err(|source| CommandError::File {
        path: path.into(),
        source,
    })
}

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A file.
    #[error("`{path}` cannot be read or written")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The labelled set.
    #[error("`{path}` is no labelled set")]
    Labelled {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: LabelledError,
    },
    /// The settings.
    #[error("`{path}` holds no settings of gatherers")]
    Settings {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The list of counted names.
    #[error(transparent)]
    Counted(CorpusError),
    /// The gatherers.
    #[error(transparent)]
    Gatherers(#[from] StartError),
    /// The rows.
    #[error(transparent)]
    Rows(#[from] RowsError),
    /// Too little was to be had.
    #[error(
        "missing: {holes}; a model would learn from that when quotas are used up. `{}` holds what there is. Run it again when more may be \
         asked (what a `cache` in the settings keeps is not asked twice), or take it as it is with --allow-missing", .path.display()
    )]
    Holes {
        /// Where the rows are.
        path: PathBuf,
        /// What is missing.
        holes: Holes,
    },
    /// Nothing to measure one of the two on.
    #[error(
        "`{}` has no {label:?} row that is not for training only, so that there is nothing to measure", .path.display()
    )]
    NoneOf {
        /// Where the rows are.
        path: PathBuf,
        /// What none of them is.
        label: Label,
    },
    /// Rows of indicators that such a model does not judge.
    #[error(
        "`{}` holds no row that a model of the kind `{}` would judge", .path.display(), .kind.name()
    )]
    OtherKind {
        /// Where the rows are.
        path: PathBuf,
        /// The model's.
        kind: ModelKind,
    },
    /// Rows of which a model sees nothing.
    #[error(
        "no row of `{}` has a value of any feature that the model `{model}` looks at; were they enriched, and gathered from the same sources?", .path.display()
    )]
    NoFeature {
        /// Where the rows are.
        path: PathBuf,
        /// The model's name.
        model: String,
    },
    /// The training.
    #[error(transparent)]
    Learn(#[from] LearnError),
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The model.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The output.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
}
