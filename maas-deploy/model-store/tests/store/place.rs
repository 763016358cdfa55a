//! A store to test, on the local disk or in HDFS, with ways to look and to meddle past it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use model_store::{Bundle, Hadoop, Limits, Location, Store, StoreError};
use test_support::{Hdfs, SharedHdfs, TempDir};

pub(crate) const MANIFEST: &str = ".maas-manifest.json";

/// A store to test, and a way around it.
pub(crate) struct Place {
    pub(crate) store: Store,
    pub(crate) base: Location,
    raw: Raw,
    /// Where this machine's own files go.
    pub(crate) here: TempDir,
    /// Kept for its log, which it shows if the test fails.
    _shared: Option<SharedHdfs>,
}

enum Raw {
    Local,
    Hdfs(Box<hdfs_native::Client>),
}

pub(crate) async fn every_place() -> [Place; 2] {
    let local = {
        let here = TempDir::new().unwrap();
        let base =
            Location::parse_with(&format!("{}/store", here.path().display()), &Hadoop::none())
                .unwrap();
        Place {
            store: Store::open_with(&base, &Hadoop::none()).unwrap(),
            base,
            raw: Raw::Local,
            here,
            _shared: None,
        }
    };
    let hdfs = Hdfs::shared().await;
    let mut remote = place_in(&hdfs, hdfs.folder());
    remote._shared = Some(hdfs);
    [local, remote]
}

/// A store in this folder of HDFS.
pub(crate) fn place_in(hdfs: &Hdfs, folder: &str) -> Place {
    let hadoop = Hadoop::from_dir(&hdfs.conf_dir()).unwrap();
    let base = Location::parse_with(folder, &hadoop).unwrap();
    assert_eq!(base.to_string(), format!("{}{folder}", hdfs.uri()));
    let client = hdfs_native::ClientBuilder::new()
        .with_url(hdfs.uri())
        .build()
        .unwrap();
    let store = Store::open_with(&base, &hadoop).unwrap();
    Place {
        store,
        base,
        raw: Raw::Hdfs(Box::new(client)),
        here: TempDir::new().unwrap(),
        _shared: None,
    }
}

impl Place {
    /// A new bundle folder with these files.
    pub(crate) fn bundle(&self, files: &[(&str, &[u8])]) -> Bundle {
        let folder = self.here.path().join(format!(
            "bundle-{}",
            fs::read_dir(self.here.path()).unwrap().count()
        ));
        for (path, content) in files {
            let path = folder.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        Bundle::scan(&folder).unwrap()
    }

    pub(crate) fn fresh(&self) -> PathBuf {
        self.here
            .path()
            .join(format!("deep/fetched-{}", uuid::Uuid::new_v4()))
    }

    pub(crate) async fn put(&self, bundle: &Bundle) -> model_store::BundleRef {
        self.store
            .put(bundle, &self.base, "dga", "1.0", |_| ())
            .await
            .unwrap()
    }

    pub(crate) async fn fetch(
        &self,
        location: &Location,
    ) -> Result<(PathBuf, model_store::Fetched), StoreError> {
        let into = self.fresh();
        let fetched = self
            .store
            .fetch(location, None, &into, &Limits::default())
            .await;
        assert_eq!(
            into.exists(),
            fetched.is_ok(),
            "a failed fetch leaves nothing behind"
        );
        fetched.map(|fetched| (into, fetched))
    }

    /// Writes a file past the store.
    pub(crate) async fn write(&self, location: &Location, content: &[u8]) {
        match &self.raw {
            Raw::Local => {
                fs::create_dir_all(Path::new(location.path()).parent().unwrap()).unwrap();
                fs::write(location.path(), content).unwrap();
            }
            Raw::Hdfs(client) => {
                // In one block, since hdfs-native by itself is not to be trusted with several small ones.
                let options = hdfs_native::WriteOptions::default()
                    .overwrite(true)
                    .block_size(8 << 20);
                let mut writer = client.create(location.path(), options).await.unwrap();
                Box::pin(writer.write_bytes(content.to_vec().into()))
                    .await
                    .unwrap();
                Box::pin(writer.close()).await.unwrap();
            }
        }
    }

    pub(crate) async fn read(&self, location: &Location) -> Vec<u8> {
        match &self.raw {
            Raw::Local => fs::read(location.path()).unwrap(),
            Raw::Hdfs(client) => {
                let mut reader = client.read(location.path()).await.unwrap();
                reader
                    .read_bytes(reader.file_length())
                    .await
                    .unwrap()
                    .to_vec()
            }
        }
    }

    /// The names directly in a folder, sorted.
    pub(crate) async fn names(&self, location: &Location) -> Vec<String> {
        let mut names: Vec<String> = match &self.raw {
            Raw::Local => {
                let entries = fs::read_dir(location.path()).unwrap();
                entries
                    .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                    .collect()
            }
            Raw::Hdfs(client) => {
                let found = client.list_status(location.path(), false).await.unwrap();
                found
                    .iter()
                    .map(|status| status.path.rsplit('/').next().unwrap().to_owned())
                    .collect()
            }
        };
        names.sort();
        names
    }
}

/// The chain of an error's reasons, as a person sees it.
pub(crate) fn told(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

pub(crate) fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o111
}

/// A few megabytes, so several chunks and several HDFS blocks, in which no two chunks are alike.
pub(crate) fn large() -> Vec<u8> {
    (0..2_600_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}
