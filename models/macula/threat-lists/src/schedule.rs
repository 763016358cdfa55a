//! When lists are looked at again: five groups of lists, each with a cron expression of its own.

use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::list::ListKind;

/// Lists that are reloaded together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Group {
    /// `whitelist*`
    Whitelist,
    /// `blacklist-ip*` and `blacklist_ip*`
    IpBlacklist,
    /// All other blacklists, mostly of domains.
    DomainBlacklist,
    /// `darklist*`
    Darklist,
    /// `feeds/*`
    Feeds,
}

/// When each group is looked at. Times are in UTC.
#[derive(Clone, Debug)]
pub struct Schedule(Vec<(Group, Cron)>);

/// A cron expression that is none.
#[derive(Debug, thiserror::Error)]
#[error("{variable}=`{text}` is no cron expression of five fields: {reason}")]
pub struct ScheduleError {
    variable: &'static str,
    text: String,
    reason: String,
}

impl Group {
    /// Every group.
    pub const ALL: [Group; 5] = [
        Group::Whitelist,
        Group::IpBlacklist,
        Group::DomainBlacklist,
        Group::Darklist,
        Group::Feeds,
    ];

    /// The environment variable that holds its cron expression.
    pub fn variable(self) -> &'static str {
        match self {
            Group::Whitelist => "MACULA_WHITELIST_CRON_STR",
            Group::IpBlacklist => "MACULA_IP_BLACKLIST_CRON_STR",
            Group::DomainBlacklist => "MACULA_DM_BLACKLIST_CRON_STR",
            Group::Darklist => "MACULA_DARKLIST_CRON_STR",
            Group::Feeds => "MACULA_FEEDS_CRON_STR",
        }
    }

    /// The group of a list.
    pub(crate) fn of(kind: ListKind, name: &str) -> Group {
        match kind {
            ListKind::Whitelist => Group::Whitelist,
            ListKind::Blacklist => {
                let of_addresses = ["blacklist-ip", "blacklist_ip"]
                    .iter()
                    .any(|prefix| name.starts_with(prefix));
                if of_addresses {
                    Group::IpBlacklist
                } else {
                    Group::DomainBlacklist
                }
            }
            ListKind::Darklist => Group::Darklist,
            ListKind::Feed => Group::Feeds,
        }
    }
}

impl Schedule {
    /// Every quarter of an hour, where `variables` says nothing else.
    const DEFAULT: &'static str = "*/15 * * * *";

    /// The schedule that the [variables](Group::variable) of the environment ask for.
    ///
    /// # Errors
    /// When one of them holds no cron expression.
    pub fn from_environment() -> Result<Schedule, ScheduleError> {
        Schedule::new(|name| std::env::var(name).ok())
    }

    /// The schedule that these variables ask for.
    ///
    /// # Errors
    /// When one of them holds no cron expression.
    pub fn new(variables: impl Fn(&str) -> Option<String>) -> Result<Schedule, ScheduleError> {
        let cron = |group: Group| {
            let variable = group.variable();
            let text = variables(variable).unwrap_or_else(|| Schedule::DEFAULT.to_owned());
            match parse(&text) {
                Ok(cron) => Ok((group, cron)),
                Err(reason) => Err(ScheduleError {
                    variable,
                    text,
                    reason,
                }),
            }
        };
        Group::ALL
            .into_iter()
            .map(cron)
            .collect::<Result<_, _>>()
            .map(Schedule)
    }

    /// How long it is until something is due.
    pub fn wait(&self, now: Timestamp) -> Option<Duration> {
        let first = self.next(now).map(|(_, at)| at).min()?;
        Duration::try_from(now.until(first).ok()?).ok()
    }

    /// The groups that became due after `last` and until `now`.
    pub(crate) fn due(&self, last: Timestamp, now: Timestamp) -> Vec<Group> {
        let due = self.next(last).filter(|(_, at)| *at <= now);
        due.map(|(group, _)| group).collect()
    }

    /// When each group is due next.
    fn next(&self, after: Timestamp) -> impl Iterator<Item = (Group, Timestamp)> {
        let zoned = after.to_zoned(TimeZone::UTC);
        self.0.iter().filter_map(move |(group, cron)| {
            let at = cron.find_next_occurrence(&zoned, false).ok()?;
            Some((*group, at.timestamp()))
        })
    }
}

/// A cron expression that comes true now and then, or what is wrong with the text.
fn parse(text: &str) -> Result<Cron, String> {
    // To the parser a list may have an element that is none, and then nothing fits.
    let mut elements = text.split_whitespace().flat_map(|field| field.split(','));
    if elements.any(str::is_empty) {
        return Err("an element of a list is empty".to_owned());
    }
    let cron = Cron::from_str(text).map_err(|error| error.to_string())?;
    // Otherwise the next time would be searched for again and again, through thousands of years.
    match cron.find_next_occurrence(&Timestamp::now().to_zoned(TimeZone::UTC), false) {
        Ok(_) => Ok(cron),
        Err(_) => Err("there is no such day".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_its_own_times() {
        let variables = |name: &str| match name {
            "MACULA_WHITELIST_CRON_STR" => Some("30 4 * * *".to_owned()),
            "MACULA_FEEDS_CRON_STR" => Some("20 10 * * *".to_owned()),
            _ => Some("0 12 1 1 *".to_owned()),
        };
        let schedule = Schedule::new(variables).expect("cron expressions");
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let half_past = at("2026-11-20T04:30:00Z");
        let hour = Duration::from_secs(3600);
        assert_eq!(schedule.wait(at("2026-11-20T03:30:00Z")), Some(hour));
        let until_ten_twenty = Duration::from_secs(5 * 3600 + 50 * 60);
        assert_eq!(schedule.wait(half_past), Some(until_ten_twenty));
        // However long it took until somebody looked again.
        let due = |from: &str, to: &str| schedule.due(at(from), at(to));
        let [early, late] = ["2026-11-20T04:29:59Z", "2026-11-20T10:20:00Z"];
        assert_eq!(due(early, late), [Group::Whitelist, Group::Feeds]);
        assert_eq!(due("2026-11-20T04:30:00Z", late), [Group::Feeds]);
        assert_eq!(due(late, "2026-11-20T11:00:00Z"), []);
    }

    #[test]
    fn what_is_no_cron_expression_is_named() {
        let error = Schedule::new(|_| Some("every day".to_owned())).expect_err("no expression");
        let message = error.to_string();
        assert!(
            message.contains("MACULA_WHITELIST_CRON_STR=`every day`"),
            "{message}"
        );
        // Found by libFuzzer: nothing would ever fit, and it took long to find that out.
        for empty in ["*/15 * * * ,\r", "1,,2 * * * *", ",5 * * * *"] {
            let error = Schedule::new(|_| Some(empty.to_owned())).expect_err(empty);
            assert!(error.to_string().contains("is empty"), "{error}");
        }
        let never = Schedule::new(|_| Some("0 0 31 2 *".to_owned())).expect_err("no such day");
        assert!(never.to_string().contains("no such day"), "{never}");
        for good in ["0,30  4 1,15 * *", "0 0 29 2 *"] {
            assert!(Schedule::new(|_| Some(good.to_owned())).is_ok());
        }
    }
}
