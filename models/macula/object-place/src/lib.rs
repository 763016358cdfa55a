//! Places where others put files for us: a folder of this machine, HDFS or S3.

use std::path::PathBuf;
use std::sync::Arc;

use hdfs_native_object_store::HdfsObjectStoreBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{Error, ObjectStore};
use url::Url;

/// A place with files.
#[derive(Clone, Debug)]
pub struct Place {
    /// Who keeps them.
    pub store: Arc<dyn ObjectStore>,
    /// What their names begin with there.
    pub prefix: Path,
    /// What the place is called, without a slash at the end.
    pub name: String,
    /// Whether it is of this machine, so that looking for changes costs nothing.
    pub is_local: bool,
}

impl Place {
    /// The folder `place`, or what its URL names: `hdfs://namenode:8020/lists`, `s3://bucket/lists`, `file:///lists`. The settings of
    /// S3 are those of the environment, `AWS_…`.
    ///
    /// # Errors
    /// When it names nothing that could be one.
    pub fn open(place: &str) -> Result<Place, Error> {
        let local = |path: PathBuf| LocalFileSystem::new_with_prefix(path).map(Arc::new);
        let (store, prefix, is_local): (Arc<dyn ObjectStore>, Path, bool) = match url_of(place) {
            None => (local(place.into())?, Path::default(), true),
            Some(url) if url.scheme() == "file" => (local(folder_of(&url))?, Path::default(), true),
            Some(url) if ["hdfs", "viewfs"].contains(&url.scheme()) => {
                let host = &url[..url::Position::BeforePath];
                let prefix = Path::parse(url.path())?;
                let store = HdfsObjectStoreBuilder::new().with_url(host).build()?;
                (Arc::new(store), prefix, false)
            }
            Some(url) => {
                let settings = std::env::vars().filter(|(name, _)| name.starts_with("AWS_"));
                let settings = settings.map(|(name, value)| (name.to_lowercase(), value));
                let (store, prefix) = object_store::parse_url_opts(&url, settings)?;
                (Arc::from(store), prefix, false)
            }
        };
        Ok(Place {
            store,
            prefix,
            name: place.trim_end_matches('/').to_owned(),
            is_local,
        })
    }

    /// The folder of this machine that a URL (`file:///lists`) names.
    pub fn folder(place: &str) -> Option<PathBuf> {
        let url = url_of(place).filter(|url| url.scheme() == "file");
        url.as_ref().map(folder_of)
    }

    /// Whether a place of this name is one of another machine.
    pub fn is_remote(place: &str) -> bool {
        url_of(place).is_some_and(|url| url.scheme() != "file")
    }
}

fn folder_of(url: &Url) -> PathBuf {
    url.to_file_path()
        .unwrap_or_else(|()| PathBuf::from(url.path()))
}

/// The URL that a place is named by, if it is not by a path.
fn url_of(place: &str) -> Option<Url> {
    Url::parse(place).ok().filter(|_| place.contains("://"))
}
