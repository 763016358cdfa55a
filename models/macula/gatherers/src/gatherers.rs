//! All gatherers together: what is known about an indicator, by the deadline.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use indicators::{DomainName, Indicator};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::warn;

use crate::cache::{CachePolicy, DiskStore, PostgresStore, Store, StoreError, StoreHandle};
use crate::clock::Clock;
use crate::config::{Config, GathererConfig, KeyError, StoreConfig};
use crate::counters::GathererCounts;
use crate::drift::DriftAlert;
use crate::feature::{Category, Feature, FeatureSpec, Gathered, Missing, Reading, Value};
use crate::gate::{Handling, Leaks, Tlp};
use crate::gatherer::{Gatherer, Manner, Policies, Surroundings};
use crate::mapping::{Mapping, MappingError};
use crate::query_log::{QueryLog, QueryLogError};
use crate::quota::QuotaLeft;
use crate::selection::Selection;
use crate::source::{
    AddressFamily, Content, DnsSource, GeoFiles, GeoFilesError, HttpSource, HttpSourceConfig,
    HttpSourceError, Question, RecentDomain, SafeBrowsing, SafeBrowsingError, Source,
};

/// The gatherers that are no mappings.
const DNS: &str = "dns";
const SAFE_BROWSING: &str = "safe_browsing";
const GEO: &str = "geo";

/// So many names are asked at once where they lead.
const AT_ONCE: usize = 8;

/// So many of an address's names are asked for, of which those that lead there no more are left out later.
const NAMES: usize = 200;

/// The gatherer's name of features that the caller told.
pub const OVERRIDE: &str = "override";

/// The features of all gatherers that come along.
static SHIPPED: LazyLock<Vec<FeatureSpec>> = LazyLock::new(shipped_features);

/// The features of all gatherers that come along, whether they are set up or not.
pub fn shipped_features() -> Vec<FeatureSpec> {
    let mappings = Mapping::shipped_names().filter_map(Mapping::shipped);
    let mappings = mappings.filter_map(|text| Mapping::parse(text).ok());
    let mapped = mappings.flat_map(|mapping| mapping.features());
    mapped
        .chain(DnsSource::specs())
        .chain(SafeBrowsing::specs())
        .collect()
}

/// How one indicator's features are gathered.
#[derive(Clone, Debug)]
pub struct GatherOptions {
    /// Which are wanted.
    pub selection: Selection,
    /// How the indicator is marked, and whether anybody may be asked.
    pub handling: Handling,
    /// Whether remembered answers will do.
    pub use_cache: bool,
    /// How long it may take, if not as the settings say.
    pub deadline: Option<Duration>,
    /// From when on nobody is waited for any more, however long it may take: what is on this machine still answers, and all else is
    /// missing for [lack of time](Missing::Timeout).
    pub until: Option<Instant>,
    /// Features that the caller knows better. Nobody is asked for them, and they are not remembered.
    pub overrides: BTreeMap<String, Value>,
}

impl Default for GatherOptions {
    fn default() -> Self {
        GatherOptions {
            selection: Selection::default(),
            handling: Handling::default(),
            use_cache: true,
            deadline: None,
            until: None,
            overrides: BTreeMap::new(),
        }
    }
}

/// How a gatherer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing<'g> {
    /// Which.
    pub name: &'g str,
    /// Whether its source is left alone, because it failed again and again or asked for it.
    pub rests: bool,
    /// How many questions its source may still be asked.
    pub quota_left: QuotaLeft,
}

/// The names that led to an address lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamesAt {
    /// Newest first, then the most seen.
    pub names: Vec<NameAt>,
    /// How many more names there are of which nobody was asked where they lead, although fewer lead here than were wanted: they
    /// were too many.
    pub unasked: usize,
    /// Whether there may soon be others although nothing is known to have changed: somebody did not answer this time.
    pub may_pass: bool,
}

/// A name that led to an address lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameAt {
    /// The name.
    pub name: DomainName,
    /// When it was last seen to.
    pub last_seen: Timestamp,
    /// How often it was seen to.
    pub count: u64,
    /// Whether it does now, by its own servers' word, or why that is not known.
    pub leads_here: Result<bool, Missing>,
}

/// All gatherers of the settings.
pub struct Gatherers {
    gatherers: Vec<Arc<Gatherer>>,
    /// Those that the settings name and that cannot work, with the reason.
    disabled: Vec<(String, Vec<FeatureSpec>, String)>,
    features: Vec<FeatureSpec>,
    around: Arc<Surroundings>,
    deadline: Duration,
    offline: bool,
}

impl Gatherers {
    /// Sets up the gatherers of the settings, and sources of the caller's own besides.
    ///
    /// A gatherer that cannot work (its key is missing, say) does not keep the others from working: it is logged, its features
    /// are missing as `disabled`, and [`disabled`](Self::disabled) tells the reason.
    ///
    /// # Errors
    /// When the settings contradict themselves, or the store of answers or the query log cannot be opened.
    pub async fn start(
        config: &Config,
        more: Vec<Arc<dyn Source>>,
        clock: Clock,
    ) -> Result<Gatherers, StartError> {
        let log = config.query_log.as_ref().map(QueryLog::open).transpose()?;
        let around = Arc::new(Surroundings {
            store: open_store(&config.cache, &clock).await?,
            clock,
            tasks: TaskTracker::new(),
            log,
            allowed: config.allow.clone(),
            alerts: Mutex::default(),
        });
        let mut gatherers = Vec::new();
        let mut disabled = Vec::new();
        for (name, settings) in config.gatherers.iter().filter(|(_, g)| g.enabled) {
            let plan = Plan::new(name, settings, config.mappings.as_deref())?;
            let (policies, features) = (plan.policies.clone(), plan.features());
            match plan.source(settings) {
                Ok(source) => {
                    gatherers.push(Arc::new(Gatherer::new(source, policies, around.clone())));
                }
                Err(error) => {
                    let reason = chain(&error);
                    warn!(gatherer = name, reason, "gatherer disabled");
                    disabled.push((name.clone(), features, reason));
                }
            }
        }
        for source in more {
            let policies = Policies::local();
            gatherers.push(Arc::new(Gatherer::new(source, policies, around.clone())));
        }
        let names = gatherers.iter().map(|gatherer| gatherer.name());
        if let Some(name) = repeated(names.chain(disabled.iter().map(|(name, ..)| name.as_str()))) {
            return Err(StartError::Repeated(name.to_owned()));
        }
        let enabled = gatherers.iter().flat_map(|g| g.features());
        let features = enabled.chain(disabled.iter().flat_map(|(_, features, _)| features));
        let features: Vec<_> = features.cloned().collect();
        let names = features.iter().map(|feature| &*feature.name);
        if let Some(feature) = repeated(names) {
            return Err(StartError::FeatureOfTwo(feature.to_owned()));
        }
        Ok(Gatherers {
            features,
            gatherers,
            disabled,
            around,
            deadline: config.deadline.0,
            offline: config.offline,
        })
    }

    /// What can be asked for.
    pub fn features(&self) -> &[FeatureSpec] {
        &self.features
    }

    /// Who tells them, and about what.
    pub fn sources(&self) -> impl Iterator<Item = (String, BTreeSet<Category>)> {
        let sources = self.gatherers.iter();
        let sources = sources.map(|gatherer| (gatherer.name().to_owned(), gatherer.categories()));
        let disabled = self.disabled.iter().map(|(name, features, _)| {
            let categories = features.iter().map(|feature| feature.category);
            (name.clone(), categories.collect())
        });
        sources.chain(disabled)
    }

    /// Gatherers of the settings that cannot work, and why.
    pub fn disabled(&self) -> impl Iterator<Item = (&str, &str)> {
        let disabled = self.disabled.iter();
        disabled.map(|(name, _, reason)| (name.as_str(), reason.as_str()))
    }

    /// Gathers what is known about an indicator. Never fails and never takes longer than the deadline: what could not be had is
    /// missing, with the reason.
    pub async fn gather(&self, indicator: &Indicator, options: &GatherOptions) -> Gathered {
        let manner = self.manner(options);
        let is_wanted = |spec: &&FeatureSpec| {
            options.selection.wants(spec) && !options.overrides.contains_key(&*spec.name)
        };
        let asked = self.gatherers.iter().map(|gatherer| async move {
            let wanted: Vec<&FeatureSpec> = gatherer.features().iter().filter(is_wanted).collect();
            if wanted.is_empty() {
                return Vec::new();
            }
            let question = Question::Features(indicator.clone());
            let told = gatherer.answer(question, manner).await;
            gatherer.features_of(&told, &wanted)
        });
        let mut features: Vec<Feature> = join_all(asked).await.into_iter().flatten().collect();
        let disabled = self.disabled.iter().flat_map(|(_, features, _)| features);
        features.extend(disabled.filter(is_wanted).map(|spec| Feature {
            name: spec.name.clone(),
            category: spec.category,
            reading: Reading::Missing(Missing::Disabled),
            gatherer: spec.gatherer.clone(),
            fetched_at: None,
            from_cache: false,
        }));
        if !options.overrides.is_empty() {
            features.extend(self.overridden(options));
        }
        Gathered {
            indicator: indicator.to_string(),
            kind: indicator.kind().into(),
            features,
        }
    }

    fn overridden<'a>(
        &'a self,
        options: &'a GatherOptions,
    ) -> impl Iterator<Item = Feature> + use<'a> {
        // What comes along need not be set up for that.
        let mut seen = BTreeSet::new();
        let known = self.features.iter().chain(&*SHIPPED);
        let known = known.filter(move |spec| seen.insert(&spec.name));
        known.filter_map(|spec| {
            let value = options.overrides.get(&*spec.name)?;
            let fits = value.value_type() == spec.value_type;
            Some(Feature {
                name: spec.name.clone(),
                category: spec.category,
                reading: if fits {
                    Reading::Value(value.clone())
                } else {
                    Reading::Missing(Missing::Unexpected)
                },
                gatherer: OVERRIDE.into(),
                fetched_at: None,
                from_cache: false,
            })
        })
    }

    /// Whether all that can be asked is on this machine.
    pub fn ask_nobody(&self) -> bool {
        self.gatherers
            .iter()
            .all(|gatherer| gatherer.leaks() == Leaks::Nothing)
    }

    /// Whether somebody can tell which names lead to an address: passive DNS, and DNS itself.
    pub fn tell_names(&self) -> bool {
        let ip = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let somebody = |question| {
            let mut gatherers = self.gatherers.iter();
            gatherers.any(|gatherer| gatherer.has_a_say(&question))
        };
        somebody(recent_domains(ip, 1))
            && DomainName::parse("a.test")
                .is_ok_and(|name| somebody(Question::Addresses(name, AddressFamily::V4)))
    }

    /// The names that led to an address within so many days, until `most` are found that lead there now, or too many were
    /// looked at.
    ///
    /// Passive DNS knows who pointed a name where, and everybody can point theirs anywhere, so every name's own servers are
    /// asked where it leads now. No more than [`CHECKED`](Self::CHECKED) are.
    ///
    /// # Errors
    /// Why the names are not known. That there are none is no error.
    pub async fn names_at(
        &self,
        ip: IpAddr,
        most: usize,
        days: u16,
        options: &GatherOptions,
    ) -> Result<NamesAt, Missing> {
        let recent = self.recent_domains(ip, days, options).await?;
        let manner = self.manner(options);
        let checked = (2 * most + 5).min(Self::CHECKED);
        let unasked = recent.domains.len().saturating_sub(checked);
        let checks = stream::iter(recent.domains.into_iter().take(checked)).map(async |domain| {
            let name = DomainName::parse(&domain.name).ok()?;
            Some(NameAt {
                leads_here: self.leads_to(&name, ip, manner, options).await,
                name,
                last_seen: domain.last_seen,
                count: domain.count,
            })
        });
        let mut checks = pin!(checks.buffered(AT_ONCE));
        let (mut names, mut here) = (Vec::new(), 0);
        while here < most
            && let Some(checked) = checks.next().await
        {
            here += checked
                .iter()
                .filter(|it| it.leads_here == Ok(true))
                .count();
            names.extend(checked);
        }
        let unknown = names.iter().filter_map(|name| name.leads_here.err());
        // Nobody knows of any of them: that is not the same as that nobody lives there.
        if let Some(why) = unknown.clone().next()
            && unknown.clone().count() == names.len()
        {
            return Err(why);
        }
        Ok(NamesAt {
            may_pass: recent.may_pass || unknown.clone().any(Missing::may_pass),
            unasked: if here < most { unasked } else { 0 },
            names,
        })
    }

    /// The most names of one address that are asked where they lead.
    pub const CHECKED: usize = 100;

    /// What all who know tell of an address, together.
    async fn recent_domains(
        &self,
        ip: IpAddr,
        days: u16,
        options: &GatherOptions,
    ) -> Result<RecentDomains, Missing> {
        let manner = self.manner(options);
        // Always the same question, so that its answer is remembered whatever of it is needed.
        let question = recent_domains(ip, days);
        let chosen = self.chosen(options);
        let asked = chosen.filter(|gatherer| gatherer.has_a_say(&question));
        let asked = asked.map(|gatherer| gatherer.answer(question.clone(), manner));
        let mut why = None;
        let mut known: Option<BTreeMap<String, RecentDomain>> = None;
        for told in join_all(asked).await {
            let answer = match told.answer {
                Ok(answer) => answer,
                Err(reason) => {
                    why = Some(reason);
                    continue;
                }
            };
            let known = known.get_or_insert_default();
            let Content::Domains(domains) = &answer.content else {
                continue;
            };
            for domain in domains {
                let one = known.entry(domain.name.clone());
                let one = one.or_insert_with(|| domain.clone());
                one.last_seen = one.last_seen.max(domain.last_seen);
                one.count = one.count.max(domain.count);
            }
        }
        let Some(known) = known else {
            return Err(why.unwrap_or(Missing::Disabled));
        };
        let mut domains: Vec<_> = known.into_values().collect();
        domains.sort_by_key(|domain| Reverse((domain.last_seen, domain.count)));
        Ok(RecentDomains {
            domains,
            may_pass: why.is_some_and(Missing::may_pass),
        })
    }

    /// Whether a name leads to an address now, by its own servers' word.
    async fn leads_to(
        &self,
        name: &DomainName,
        ip: IpAddr,
        manner: Manner,
        options: &GatherOptions,
    ) -> Result<bool, Missing> {
        let question = Question::Addresses(name.clone(), AddressFamily::of(ip));
        let mut why = Missing::Disabled;
        for gatherer in self.chosen(options) {
            let told = gatherer.answer(question.clone(), manner).await;
            match told.answer {
                // What it led to once does not count.
                Ok(_) if told.is_stale => why = Missing::Failed,
                Ok(answer) => {
                    return Ok(match &answer.content {
                        Content::Addresses(addresses) => addresses.contains(&ip),
                        Content::Nothing | Content::Features(_) | Content::Domains(_) => false,
                    });
                }
                Err(Missing::NotApplicable) => {}
                Err(reason) => why = reason,
            }
        }
        Err(why)
    }

    /// The gatherers that may be asked about something else than features, by the caller's choice of these.
    fn chosen<'a>(
        &'a self,
        options: &'a GatherOptions,
    ) -> impl Iterator<Item = &'a Arc<Gatherer>> + use<'a> {
        let wants = |gatherer: &&Arc<Gatherer>| {
            let selection = &options.selection;
            selection.wants_source(gatherer.name(), &gatherer.categories())
        };
        self.gatherers.iter().filter(wants)
    }

    /// What was counted for each gatherer.
    pub fn counts(&self) -> BTreeMap<String, GathererCounts> {
        let counts = self.gatherers.iter().map(|g| (g.name().into(), g.counts()));
        counts.collect()
    }

    /// How each gatherer stands.
    pub fn standings(&self) -> impl Iterator<Item = Standing<'_>> {
        self.gatherers.iter().map(|gatherer| Standing {
            name: gatherer.name(),
            rests: gatherer.rests(),
            quota_left: gatherer.quota_left(),
        })
    }

    /// The last changes in the shape of answers, oldest first.
    pub fn drift_alerts(&self) -> Vec<DriftAlert> {
        let alerts = self.around.alerts.lock();
        alerts.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lines of the query log that were lost because the disk was too slow.
    pub fn lost_log_lines(&self) -> u64 {
        self.around.log.as_ref().map_or(0, QueryLog::dropped)
    }

    /// Waits until the questions under way are answered, at most so long, for their answers belong into the cache.
    pub async fn stop(&self, grace: Duration) {
        self.around.tasks.close();
        let stopped = tokio::time::timeout(grace, self.around.tasks.wait()).await;
        if stopped.is_err() {
            warn!(
                left = self.around.tasks.len(),
                "stopped before all answers had come"
            );
        }
    }

    fn manner(&self, options: &GatherOptions) -> Manner {
        let deadline = Instant::now() + options.deadline.unwrap_or(self.deadline);
        Manner {
            handling: Handling {
                offline: options.handling.offline || self.offline,
                ..options.handling
            },
            use_cache: options.use_cache,
            deadline: options.until.map_or(deadline, |until| deadline.min(until)),
        }
    }
}

impl Policies {
    fn local() -> Policies {
        Policies {
            cache: CachePolicy::default(),
            quota: Default::default(),
            breaker: Default::default(),
            max_tlp: Tlp::Red,
        }
    }
}

/// What passive DNS says of an address.
struct RecentDomains {
    domains: Vec<RecentDomain>,
    may_pass: bool,
}

fn recent_domains(ip: IpAddr, days: u16) -> Question {
    Question::RecentDomains {
        ip,
        limit: NAMES,
        days,
    }
}

/// A gatherer of the settings that is about to be made.
struct Plan {
    name: String,
    mapping: Option<Mapping>,
    policies: Policies,
}

impl Plan {
    fn new(
        name: &str,
        settings: &GathererConfig,
        folder: Option<&Path>,
    ) -> Result<Plan, StartError> {
        let mapping = if matches!(name, DNS | SAFE_BROWSING) {
            None
        } else {
            Some(find_mapping(name, folder)?)
        };
        if let Some(other) = mapping.as_ref().filter(|mapping| mapping.name != name) {
            return Err(StartError::OtherName {
                gatherer: name.into(),
                mapping: other.name.clone(),
            });
        }
        let mut policies = match &mapping {
            Some(mapping) => Policies {
                cache: mapping.cache.clone(),
                quota: mapping.quota,
                breaker: mapping.breaker,
                max_tlp: mapping.max_tlp,
            },
            None => Policies {
                max_tlp: Tlp::Green,
                ..Policies::local()
            },
        };
        policies.quota = settings.quota.unwrap_or(policies.quota);
        policies.breaker = settings.breaker.unwrap_or(policies.breaker);
        policies.max_tlp = settings.max_tlp.unwrap_or(policies.max_tlp);
        if let Some(cache) = &settings.cache {
            policies.cache =
                lay_over(&policies.cache, cache).map_err(|source| StartError::CachePolicy {
                    gatherer: name.into(),
                    source: Box::new(source),
                })?;
        }
        Ok(Plan {
            name: name.into(),
            mapping,
            policies,
        })
    }

    /// What it would tell if it could work.
    fn features(&self) -> Vec<FeatureSpec> {
        match &self.mapping {
            Some(mapping) => mapping.features(),
            None if self.name == DNS => DnsSource::specs(),
            None => SafeBrowsing::specs(),
        }
    }

    fn source(self, settings: &GathererConfig) -> Result<Arc<dyn Source>, SourceError> {
        let Some(mut mapping) = self.mapping else {
            if self.name == DNS {
                return Ok(Arc::new(DnsSource::new(settings.resolve.clone())?));
            }
            let list = settings.list.as_ref().ok_or(SourceError::NoList)?;
            return Ok(Arc::new(SafeBrowsing::open(list)?));
        };
        if self.name == GEO && !settings.files.is_empty() {
            return Ok(Arc::new(GeoFiles::open(mapping, &settings.files)?));
        }
        if let Some(timeout) = settings.timeout {
            mapping.timeout = timeout;
        }
        let config = HttpSourceConfig {
            base_url: settings.base_url.clone(),
            key: settings.key(&self.name)?,
            parameters: settings.parameters.clone(),
        };
        Ok(Arc::new(HttpSource::new(mapping, config)?))
    }
}

/// The first that is there more than once.
fn repeated<'n>(names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let mut seen = BTreeSet::new();
    names.into_iter().find(|name| !seen.insert(*name))
}

fn find_mapping(name: &str, folder: Option<&Path>) -> Result<Mapping, StartError> {
    let wrong = |source| StartError::Mapping {
        gatherer: name.to_owned(),
        source,
    };
    if let Some(path) = folder.map(|folder| folder.join(format!("{name}.toml"))) {
        match fs::read_to_string(&path) {
            Ok(text) => return Mapping::parse(&text).map_err(wrong),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(StartError::ReadMapping { path, source }),
        }
    }
    let text = Mapping::shipped(name).ok_or_else(|| StartError::NoMapping(name.into()))?;
    Mapping::parse(text).map_err(wrong)
}

fn lay_over(policy: &CachePolicy, more: &toml::Table) -> Result<CachePolicy, toml::de::Error> {
    let base = toml::Table::try_from(policy).map_err(serde::de::Error::custom)?;
    base.into_iter()
        .chain(more.clone())
        .collect::<toml::Table>()
        .try_into()
}

async fn open_store(
    config: &StoreConfig,
    clock: &Clock,
) -> Result<Option<Arc<StoreHandle>>, StartError> {
    let store = match (&config.disk, &config.postgres) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => return Err(StartError::TwoStores),
        (Some(path), None) => Store::Disk(DiskStore::open(path)?),
        (None, Some(settings)) => Store::Postgres(PostgresStore::connect(settings).await?),
    };
    Ok(Some(Arc::new(StoreHandle::new(store, clock.clone()))))
}

fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let texts: Vec<String> = causes.map(ToString::to_string).collect();
    texts.join(": ")
}

/// Why one gatherer cannot work.
#[derive(Debug, thiserror::Error)]
enum SourceError {
    #[error(transparent)]
    Http(#[from] HttpSourceError),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Geo(#[from] GeoFilesError),
    #[error(transparent)]
    SafeBrowsing(#[from] SafeBrowsingError),
    #[error("the settings name no list (`list`)")]
    NoList,
    #[error("names cannot be resolved")]
    Dns(#[from] hickory_resolver::net::NetError),
}

/// Why the gatherers cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A gatherer that nobody knows.
    #[error("there is no gatherer `{0}`, and no mapping of that name")]
    NoMapping(String),
    /// A mapping that is none.
    #[error("the mapping of the gatherer `{gatherer}` is of no use")]
    Mapping {
        /// Whose.
        gatherer: String,
        /// Why.
        #[source]
        source: MappingError,
    },
    /// A mapping that cannot be read.
    #[error("the mapping `{path}` cannot be read")]
    ReadMapping {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A mapping that is called otherwise than its file: the two would be taken for two sources, or for another one.
    #[error(
        "the mapping of the gatherer `{gatherer}` calls itself `{mapping}`; both must have the same name"
    )]
    OtherName {
        /// What the settings say.
        gatherer: String,
        /// What the mapping says.
        mapping: String,
    },
    /// Two gatherers of one name.
    #[error("there are two gatherers called `{0}`")]
    Repeated(String),
    /// A feature that two gatherers tell, so that nobody could say whose counts.
    #[error("two gatherers tell the feature `{0}`; give it another name in one of the mappings")]
    FeatureOfTwo(String),
    /// A cache policy that is none.
    #[error("the cache policy of the gatherer `{gatherer}` is wrong")]
    CachePolicy {
        /// Whose.
        gatherer: String,
        /// Why.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// More than one place for answers.
    #[error("answers are kept on disk or in a database, not both")]
    TwoStores,
    /// The store of answers.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The query log.
    #[error(transparent)]
    QueryLog(#[from] QueryLogError),
}

impl std::fmt::Debug for Gatherers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<(&str, Leaks)> = self
            .gatherers
            .iter()
            .map(|g| (g.name(), g.leaks()))
            .collect();
        f.debug_struct("Gatherers")
            .field("gatherers", &names)
            .field("disabled", &self.disabled.len())
            .finish_non_exhaustive()
    }
}
