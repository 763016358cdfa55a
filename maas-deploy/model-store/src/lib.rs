//! Model bundles in HDFS or a local folder.
