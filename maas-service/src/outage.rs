//! ZooKeeper out of reach: since when, why, and what goes on without it, told in the log at once, every minute, and when it is
//! over.
//!
//! Meanwhile nobody can ask ZooKeeper how all stands. Whoever looks into the log of the daemon or of a runner is to find it at
//! its end, and not only where it began.

use std::time::{Duration, SystemTime};

use maas_client::session::{Session, SessionHealth};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{info, warn};

/// How often it is told again.
const AGAIN: Duration = Duration::from_secs(60);

/// What is told of a time without ZooKeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Begins,
    /// It has lasted for so long.
    GoesOn(Duration),
    /// It has lasted for so long.
    IsOver(Duration),
}

/// Tells of the times without ZooKeeper, and of what goes on meanwhile, until the result is dropped.
pub fn tell_of_outages(session: &Session, quorum: &str, meanwhile: &'static str) -> JoinSet<()> {
    let (health, quorum) = (session.health(), quorum.to_owned());
    let mut telling = JoinSet::new();
    telling.spawn(follow(health, AGAIN, move |since, news| {
        tell(since, news, &quorum, meanwhile);
    }));
    telling
}

fn tell(since: SystemTime, news: News, quorum: &str, meanwhile: &str) {
    let since = humantime::format_rfc3339_seconds(since);
    let why = "no ZooKeeper server answers";
    match news {
        News::Begins => warn!(%since, why, quorum, meanwhile, "degraded"),
        News::GoesOn(lasts) => {
            let seconds = lasts.as_secs();
            warn!(%since, seconds, why, quorum, meanwhile, "still degraded");
        }
        News::IsOver(lasted) => {
            let seconds = lasted.as_secs();
            info!(%since, seconds, "no longer degraded: ZooKeeper answers again");
        }
    }
}

/// Follows the health of a session for as long as there is one. An outage is told of again after `again`, and with it since
/// when it is.
async fn follow(
    mut health: watch::Receiver<SessionHealth>,
    again: Duration,
    mut tell: impl FnMut(SystemTime, News),
) {
    while health.wait_for(|health| !health.connected).await.is_ok() {
        let (since, began) = (SystemTime::now(), Instant::now());
        tell(since, News::Begins);
        loop {
            let is_over = health.wait_for(|health| health.connected);
            match tokio::time::timeout(again, is_over).await {
                Ok(Ok(_)) => {
                    tell(since, News::IsOver(began.elapsed()));
                    break;
                }
                Ok(Err(_)) => return,
                Err(_) => tell(since, News::GoesOn(began.elapsed())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn an_outage_is_told_of_at_once_and_again_and_again_and_when_it_is_over() {
        let up = SessionHealth {
            generation: 1,
            connected: true,
        };
        let down = SessionHealth {
            connected: false,
            ..up
        };
        let again = Duration::from_millis(20);
        let (health, seen) = watch::channel(up);
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut following = JoinSet::new();
        following.spawn(follow(seen, again, move |since, news| {
            tell.send((since, news)).expect("we listen");
        }));
        for times in [1, 3] {
            health.send_replace(down);
            let (since, begins) = told.recv().await.expect("told");
            assert_eq!(begins, News::Begins);
            for time in 1..=times {
                let (same, goes_on) = told.recv().await.expect("told");
                assert!(matches!(goes_on, News::GoesOn(lasts) if lasts >= again * time));
                assert_eq!(same, since);
            }
            health.send_replace(up);
            let over = loop {
                match told.recv().await.expect("told") {
                    (_, News::GoesOn(_)) => {}
                    over => break over,
                }
            };
            assert!(
                matches!(over, (same, News::IsOver(lasted)) if same == since && lasted >= again * times)
            );
        }
        drop(health);
        assert!(told.recv().await.is_none(), "it ends with the session");
    }
}
