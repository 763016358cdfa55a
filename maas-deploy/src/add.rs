//! ADD: upload the folder, then offer the request.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use indicatif::{ProgressBar, ProgressStyle};
use maas_client::Session;
use maas_client::layout::Layout;
use maas_client::queue::Queue;
use maas_client::wire::request::{Action, ModelRequest};
use maas_client::wire::state::Desired;
use model_store::{Bundle, Location, Store};

use crate::exit::{Exit, Failure};
use crate::follow::{self, Goal, say};
use crate::options::Add;

/// Adds copies of a model.
pub(crate) async fn add(
    session: &Session,
    layout: &Layout,
    add: &Add,
    patience: Option<Duration>,
) -> Result<(), Failure> {
    let base =
        Location::parse(&add.store).map_err(|error| Failure::new(Exit::Usage, error.into()))?;
    let location = match &add.folder {
        Some(folder) => upload(add, folder, &base).await?,
        None => check_stored(&base).await?,
    };
    let instances = match add.instances {
        Some(instances) => instances,
        None => as_many_as_run(session, layout, add).await?,
    };
    let request = ModelRequest {
        name: add.name.clone(),
        version: add.version.clone(),
        instances,
        memory_mb: add.memory_mb,
        action: Action::Add,
        path: Some(location.to_string()),
        replace: add.replace.clone(),
        deadline_s: add.deadline_s,
        id: None,
    };
    let offered = Queue::new(session.clone(), layout.clone())
        .offer(&request.to_bytes())
        .await?;
    follow::follow(session, layout, &offered, Goal::Serving(&request), patience).await
}

async fn upload(add: &Add, folder: &Path, base: &Location) -> Result<Location, Failure> {
    let unusable = |error: model_store::BundleError| Failure::new(Exit::Usage, error.into());
    let bundle = Bundle::scan(folder).map_err(unusable)?;
    say(&format!(
        "{}: {} files, {}, started by {}",
        folder.display(),
        bundle.files().len(),
        indicatif::HumanBytes(bundle.size()),
        bundle.script()
    ));
    if bundle.leaves_out_endpoint_dat() {
        say("note: endpoint.dat is left out; each copy writes its own");
    }
    let store = Store::open(base).map_err(anyhow::Error::from)?;
    // Hidden by itself where standard error is no terminal.
    let style =
        ProgressStyle::with_template("{msg} [{bar:40}] {bytes} of {total_bytes}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(bundle.size())
        .with_style(style)
        .with_message("uploading");
    let put = store
        .put(
            &bundle,
            base,
            add.name.as_str(),
            add.version.as_str(),
            |done| bar.set_position(done),
        )
        .await;
    bar.finish_and_clear();
    let stored = put.with_context(|| format!("`{}` could not be uploaded", folder.display()))?;
    say(&format!(
        "{} {}",
        if stored.uploaded {
            "uploaded to"
        } else {
            "already in the store at"
        },
        stored.location
    ));
    Ok(stored.location)
}

/// As many copies as should run of the version that is to be replaced.
async fn as_many_as_run(session: &Session, layout: &Layout, add: &Add) -> Result<u32, Failure> {
    let usage = |text: String| Failure::new(Exit::Usage, anyhow!(text));
    let Some(old) = &add.replace else {
        return Err(usage("say how many copies to add (-ni)".to_owned()));
    };
    let read = session.get(&layout.desired(&add.name, old)).await?;
    let desired = read.and_then(|(data, _)| Desired::parse(&data).ok());
    desired.map(|desired| desired.instances).ok_or_else(|| {
        usage(format!(
            "nothing runs of model {} {old}, so there is nothing to replace",
            add.name
        ))
    })
}

async fn check_stored(location: &Location) -> Result<Location, Failure> {
    let store = Store::open(location).map_err(anyhow::Error::from)?;
    if !store.exists(location).await.map_err(anyhow::Error::from)? {
        let error = anyhow!("there is nothing at {location}; name the folder to upload with -lmp");
        return Err(Failure::new(Exit::Usage, error));
    }
    Ok(location.clone())
}
