//! Find deployed models in ZooKeeper and call them over REST.
