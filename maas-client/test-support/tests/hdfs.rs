//! The HDFS helper gives a file system that keeps what it is given.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test fails by panicking, like the test"
)]

use hdfs_native::{ClientBuilder, WriteOptions};
use test_support::Hdfs;

#[tokio::test]
async fn a_file_of_several_blocks_comes_back_as_it_was_written() {
    let hdfs = Hdfs::shared().await;
    let config = hdfs.conf_dir().to_str().unwrap().to_owned();
    let client = ClientBuilder::new()
        .with_config_dir(config)
        .build()
        .unwrap();
    let content: Vec<u8> = (0..1_900_000_u32).map(|n| (n % 251) as u8).collect();
    let path = format!("{}/file", hdfs.folder());

    let mut writer = client.create(&path, WriteOptions::default()).await.unwrap();
    Box::pin(writer.write_bytes(content.clone().into()))
        .await
        .unwrap();
    Box::pin(writer.close()).await.unwrap();

    assert_eq!(
        client
            .read(&path)
            .await
            .unwrap()
            .read_bytes(content.len())
            .await
            .unwrap(),
        content
    );
}

#[tokio::test]
async fn each_user_of_the_shared_file_system_has_a_folder_of_its_own() {
    let (one, other) = tokio::join!(Hdfs::shared(), Hdfs::shared());
    assert_eq!(one.uri(), other.uri());
    assert_ne!(one.folder(), other.folder());
    let client = ClientBuilder::new().with_url(one.uri()).build().unwrap();
    assert!(client.get_file_info(one.folder()).await.is_err());
}
