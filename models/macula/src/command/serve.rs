//! `macula serve`

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use macula::CacheSettings;
use macula::admin::{Admin, Token};
use macula::server::{FUNCTIONS, router};
use model_server::{Bound, Listening, stop_signal};
use threat_lists::Schedule;
use tokio_util::sync::CancellationToken;

use super::Scoring;

/// How often the models' folders are looked at for new ones.
const LOOK: Duration = Duration::from_secs(5);

/// How often the models' places on other machines are.
const FETCH: Duration = Duration::from_secs(10);

/// How long questions to others that are under way are waited for at the end, for their answers are worth remembering.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    listening: Listening,
    /// Where to listen for the admin routes; without it there are none.
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// A file with the token that callers of the admin routes have to know. Needed where `--admin` can be reached from other
    /// machines.
    #[arg(long, value_name = "FILE", requires = "admin")]
    admin_token_file: Option<PathBuf>,
    /// How many MiB of scores to keep; 0 for none.
    #[arg(long, value_name = "MIB", default_value_t = 8)]
    cache_size: u16,
    /// For how many seconds a score may be given again.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    cache_time: u32,
    /// `/ready` answers 503 when the file of a list was written longer ago than this (`36h`, `7days`); by default at no age.
    #[arg(long, value_name = "TIME")]
    max_list_age: Option<humantime::Duration>,
    #[command(flatten)]
    scoring: Scoring,
}

impl Serve {
    /// The life of the server: bind, load, say where, answer, stop.
    #[tokio::main]
    pub(crate) async fn run(&self) -> Result<ExitCode> {
        let stop = stop_signal()?;
        let bound = self.listening.bind().await?;
        let admin = match &self.admin {
            Some(address) => {
                let (bound, token) = (Bound::bind(address).await?, self.token()?);
                if token.is_none() && !bound.is_local() {
                    bail!(
                        "`--admin {address}` can be reached from other machines, and whoever reaches it may reload lists and roll models back: give it a token by --admin-token-file, or an address of this machine alone"
                    );
                }
                Some((bound, token))
            }
            None => None,
        };
        let schedule = Schedule::from_environment()?;
        let library = Arc::new(self.scoring.library().await?);
        let (analyst, mirrors) = self.scoring.analyst().await?;
        let lists = library.current();
        let scorer = self.scoring.scorer(lists, analyst.clone(), self.cache());
        let max_age = self.max_list_age.map(Into::into);
        let scorer = Arc::new(scorer.with_max_list_age(max_age));
        let _file = bound.announce(&FUNCTIONS)?;
        let snapshot = scorer.snapshot();
        tracing::info!(
            url = bound.url(),
            admin = admin.as_ref().map(|(bound, _)| bound.url()),
            lists = snapshot.lists.iter().count(),
            entries = snapshot.lists.entries(),
            "serving"
        );
        drop(snapshot);
        let stopped = CancellationToken::new();
        let public = bound.serve(
            router(Arc::clone(&scorer)),
            stopped.clone().cancelled_owned(),
        );
        let private = async {
            let Some((bound, token)) = admin else {
                return Ok(());
            };
            let admin = Admin::new(Arc::clone(&scorer), Arc::clone(&library), token);
            let stopped = stopped.clone().cancelled_owned();
            bound.serve(admin.router(), stopped).await
        };
        let told = async {
            stop.await;
            stopped.cancel();
            Ok(())
        };
        let goes_by = Arc::clone(&scorer);
        library.tell(move |lists| goes_by.replace_lists(lists));
        let follow = library.follow(&schedule);
        let models = analyst.iter().flat_map(|analyst| analyst.models());
        let watch = models.map(|model| Arc::clone(model).watch(LOOK, stopped.clone()));
        let watch = futures_util::future::join_all(watch);
        let mirrors = mirrors.iter();
        let fetch = mirrors.map(|(mirror, model)| mirror.follow(model, FETCH, stopped.clone()));
        let fetch = futures_util::future::join_all(fetch);
        let serve = async { tokio::try_join!(public, private, told) };
        let serve = async { tokio::join!(serve, watch, fetch).0 };
        tokio::select! {
            served = serve => { served?; }
            () = follow => {}
        }
        if let Some(analyst) = analyst {
            analyst.gatherers().stop(GRACE).await;
        }
        tracing::info!("stopped");
        Ok(ExitCode::SUCCESS)
    }

    fn cache(&self) -> CacheSettings {
        CacheSettings {
            capacity: u64::from(self.cache_size) * 1024 * 1024,
            lifetime: Duration::from_secs(self.cache_time.into()),
        }
    }

    fn token(&self) -> Result<Option<Token>> {
        let Some(path) = &self.admin_token_file else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("could not read `{}`", path.display()))?;
        let token = Token::new(&text)
            .with_context(|| format!("there is no token in `{}`", path.display()))?;
        Ok(Some(token))
    }
}
