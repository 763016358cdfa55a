//! The domain pivot: what an address's recent domains say about it. Pure: the domains come scored, the day as an argument.
//!
//! The lowest score counts, for many neighbours share an address and the most harmless of them is who suffers from a false
//! alarm. That makes names an attacker can point anywhere a way to look harmless, so only domains that resolve to the address now
//! are looked at, and only those on the whitelist as *owned* clear it: hosting platforms, dynamic DNS and CDNs on the whitelist
//! would otherwise whitewash everything that lives on them. And where nobody knows anything about the most harmless of them,
//! nobody knows anything about the address.

use jiff::ToSpan;
use jiff::civil::Date;

use gatherers::Missing;
use threat_lists::{Class, Scope};

use crate::judgement::{Base, Verdict};

/// How the pivot chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PivotPolicy {
    /// How many days back a domain counts as recent.
    pub recent_days: u16,
    /// Whether a domain of any whitelist entry clears the address, not only an owned one.
    pub any_entry_clears: bool,
}

impl Default for PivotPolicy {
    fn default() -> Self {
        PivotPolicy {
            recent_days: 30,
            any_entry_clears: false,
        }
    }
}

/// A domain that was seen at an address, with its score.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenDomain {
    /// Its name.
    pub name: String,
    /// Its own score, 0 to 100.
    pub score: f64,
    /// In one word.
    pub verdict: Verdict,
    /// The class of the whitelist that names it, if one does.
    pub whitelisted: Option<Class>,
    /// When it was last seen at the address.
    pub last_seen: Date,
    /// How often.
    pub count: u64,
    /// Whether it leads to the address now, or why nobody knows.
    pub leads_here: Result<bool, Missing>,
}

/// What there is to know of an address's domains.
#[derive(Clone, Debug, PartialEq)]
pub enum SeenDomains {
    /// These, and there may be none.
    Known {
        /// Those that were looked at.
        domains: Vec<SeenDomain>,
        /// How many more there are that nobody was asked about, since they were too many.
        unasked: usize,
    },
    /// Nobody says, for this reason.
    Unavailable(Missing),
}

/// What the pivot came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Pivot {
    /// It was not asked for.
    Off,
    /// Nobody says which domains there are, or where those lead that are not known to live elsewhere, for this reason, so the
    /// address is scored by itself.
    Unavailable(Missing),
    /// No domain was seen lately that still lives there, so the address is scored by itself.
    NoDomains {
        /// How many domains were not looked at.
        unchecked: usize,
    },
    /// Nobody has an opinion about the most harmless of the domains, so the address is scored by itself.
    Unknown {
        /// Which that is.
        domain: String,
        /// How many domains were looked at.
        of: usize,
        /// Of how many more nobody knows whether they live there.
        unchecked: usize,
    },
    /// A domain that clears the address.
    Cleared {
        /// Which.
        domain: String,
        /// How many domains were looked at.
        of: usize,
    },
    /// The lowest score of the domains.
    Lowest {
        /// Whose.
        domain: String,
        /// The score.
        score: f64,
        /// How many domains were looked at.
        of: usize,
        /// Of how many more nobody knows whether they live there.
        unchecked: usize,
    },
}

impl Pivot {
    /// In one word, for `meta.pivot.status`.
    pub fn status(&self) -> &'static str {
        match self {
            Pivot::Off => "off",
            Pivot::Unavailable(_) => "unavailable",
            Pivot::NoDomains { .. } => "no_domains",
            Pivot::Unknown { .. } => "unknown",
            Pivot::Cleared { .. } => "cleared",
            Pivot::Lowest { .. } => "lowest",
        }
    }

    /// The score before the rules: the pivot's if it has one, else the address's own. The minimum of nothing is no score.
    /// The indicator is the address, or lives there.
    pub fn base(&self, of_the_address: Base, scope: Scope) -> Base {
        match (self, scope) {
            (
                Pivot::Off
                | Pivot::Unavailable(_)
                | Pivot::NoDomains { .. }
                | Pivot::Unknown { .. },
                _,
            ) => of_the_address,
            (Pivot::Cleared { .. }, Scope::Itself) => Base::Cleared,
            (Pivot::Cleared { .. }, Scope::Host) => Base::HostCleared,
            (Pivot::Lowest { score, .. }, _) => Base::Pivot(*score),
        }
    }

    /// The domain that it came to, with its score and how many were looked at.
    pub fn domain(&self) -> Option<(&str, Option<f64>, usize)> {
        match self {
            Pivot::Off | Pivot::Unavailable(_) | Pivot::NoDomains { .. } => None,
            Pivot::Unknown { domain, of, .. } => Some((domain, None, *of)),
            Pivot::Cleared { domain, of } => Some((domain, Some(0.0), *of)),
            Pivot::Lowest {
                domain, score, of, ..
            } => Some((domain, Some(*score), *of)),
        }
    }

    /// How many domains there are besides that were seen there and of which nobody knows whether they still live there. One that
    /// clears the address does so whatever these are.
    pub fn unchecked(&self) -> usize {
        match self {
            Pivot::Off | Pivot::Unavailable(_) | Pivot::Cleared { .. } => 0,
            Pivot::NoDomains { unchecked }
            | Pivot::Unknown { unchecked, .. }
            | Pivot::Lowest { unchecked, .. } => *unchecked,
        }
    }
}

/// Looks at the `most` recent domains of an address: the last seen first, of one day the most often seen.
pub fn pivot(domains: SeenDomains, most: usize, policy: &PivotPolicy, today: Date) -> Pivot {
    if most == 0 {
        return Pivot::Off;
    }
    let (mut domains, unasked) = match domains {
        SeenDomains::Known { domains, unasked } => (domains, unasked),
        SeenDomains::Unavailable(why) => return Pivot::Unavailable(why),
    };
    let since = today.saturating_sub(i32::from(policy.recent_days).days());
    domains.retain(|domain| domain.last_seen >= since);
    let order = |domain: &SeenDomain| (domain.last_seen, domain.count);
    // By name at last, so that the answer does not depend on the order in which passive DNS lists them.
    domains.sort_by(|a, b| order(b).cmp(&order(a)).then_with(|| a.name.cmp(&b.name)));
    let mut here = Vec::new();
    let (mut unchecked, mut why) = (0, None);
    for domain in domains {
        if here.len() == most {
            break;
        }
        match domain.leads_here {
            Ok(true) => here.push(domain),
            Ok(false) => {}
            // If it lives there it is one of those that count.
            Err(reason) => {
                unchecked += 1;
                why.get_or_insert(reason);
            }
        }
    }
    let of = here.len();
    if of < most {
        unchecked += unasked;
    }
    let clears = |domain: &&SeenDomain| match domain.whitelisted {
        Some(Class::Owned) => true,
        Some(Class::Shared) => policy.any_entry_clears,
        None => false,
    };
    if let Some(owned) = here.iter().find(clears) {
        let domain = owned.name.clone();
        return Pivot::Cleared { domain, of };
    }
    // A shared platform's own score is 0 by its whitelist entry and says nothing about the address.
    let own = here
        .into_iter()
        .filter(|domain| domain.whitelisted.is_none());
    match own.min_by(|a, b| a.score.total_cmp(&b.score)) {
        Some(lowest) if lowest.verdict == Verdict::Unknown => Pivot::Unknown {
            domain: lowest.name,
            of,
            unchecked,
        },
        Some(lowest) => Pivot::Lowest {
            domain: lowest.name,
            score: lowest.score,
            of,
            unchecked,
        },
        // That somebody did not answer is not the same as that nobody lives there.
        None => why.map_or(Pivot::NoDomains { unchecked }, Pivot::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    const TODAY: Date = date(2026, 11, 21);

    fn seen(name: &str, score: f64) -> SeenDomain {
        SeenDomain {
            name: name.to_owned(),
            score,
            verdict: Verdict::Suspicious,
            whitelisted: None,
            last_seen: date(2026, 11, 20),
            count: 1,
            leads_here: Ok(true),
        }
    }

    fn listed(name: &str, class: Class) -> SeenDomain {
        SeenDomain {
            whitelisted: Some(class),
            ..seen(name, 0.0)
        }
    }

    fn known(domains: Vec<SeenDomain>) -> SeenDomains {
        SeenDomains::Known {
            domains,
            unasked: 0,
        }
    }

    fn check(domains: Vec<SeenDomain>, most: usize, expected: &str, base: Base) {
        let policy = PivotPolicy::default();
        let found = pivot(known(domains), most, &policy, TODAY);
        let own = Base::Model(77.0);
        assert_eq!(
            (found.status(), found.base(own, Scope::Itself)),
            (expected, base),
            "{found:?}"
        );
    }

    #[test]
    fn the_lowest_score_of_the_recent_domains_counts() {
        let three = vec![
            seen("a.test", 60.0),
            seen("b.test", 20.0),
            seen("c.test", 90.0),
        ];
        check(three.clone(), 5, "lowest", Base::Pivot(20.0));
        // Only as many as were asked for, the most recent and then the most often seen first.
        let mut ranked = three;
        ranked[0].last_seen = TODAY;
        ranked[2].count = 9;
        check(ranked.clone(), 1, "lowest", Base::Pivot(60.0));
        check(ranked, 2, "lowest", Base::Pivot(60.0));
    }

    #[test]
    fn the_minimum_of_nothing_is_the_addresses_own_score_with_the_reason() {
        let own = Base::Model(77.0);
        check(vec![], 5, "no_domains", own);
        check(vec![seen("a.test", 0.0)], 0, "off", own);
        let old = SeenDomain {
            last_seen: date(2026, 10, 1),
            ..seen("a.test", 0.0)
        };
        let gone = SeenDomain {
            leads_here: Ok(false),
            ..seen("b.test", 0.0)
        };
        check(vec![old, gone], 5, "no_domains", own);
        let down = SeenDomains::Unavailable(Missing::Timeout);
        let down = pivot(down, 5, &PivotPolicy::default(), TODAY);
        assert_eq!(
            (down.status(), down.base(own, Scope::Host)),
            ("unavailable", own)
        );
    }

    #[test]
    fn a_domain_nobody_knows_speaks_neither_for_nor_against_its_address() {
        let unknown = SeenDomain {
            verdict: Verdict::Unknown,
            ..seen("new.test", 50.0)
        };
        let own = Base::Model(77.0);
        let evil = seen("evil.test", 95.0);
        let good = seen("good.test", 10.0);
        check(vec![unknown.clone(), evil], 5, "unknown", own);
        check(vec![unknown, good], 5, "lowest", Base::Pivot(10.0));
    }

    #[test]
    fn what_nobody_knows_of_the_other_domains_is_told() {
        let lost = |name: &str| SeenDomain {
            leads_here: Err(Missing::Timeout),
            last_seen: TODAY,
            ..seen(name, 5.0)
        };
        let gone = SeenDomain {
            leads_here: Ok(false),
            ..seen("gone.test", 0.0)
        };
        let (good, evil) = (seen("good.test", 20.0), seen("evil.test", 95.0));
        let found = |domains: &[&SeenDomain], unasked| {
            let domains = domains.iter().copied().cloned().collect();
            let known = SeenDomains::Known { domains, unasked };
            let found = pivot(known, 2, &PivotPolicy::default(), TODAY);
            (found.status(), found.unchecked())
        };
        // None is known to live there, but some may.
        let lost = [lost("a.test"), lost("b.test")];
        assert_eq!(found(&[&gone, &lost[0]], 0), ("unavailable", 0));
        assert_eq!(found(&[&gone], 7), ("no_domains", 7));
        assert_eq!(found(&[&gone], 0), ("no_domains", 0));
        // One lives there, and those that may, too, could be more harmless.
        assert_eq!(found(&[&good, &lost[0], &lost[1]], 0), ("lowest", 2));
        assert_eq!(found(&[&good, &lost[0]], 7), ("lowest", 8));
        // As many as were wanted were found; only what was seen after them might have been among them.
        assert_eq!(found(&[&good, &evil, &lost[0]], 7), ("lowest", 1));
        let old = SeenDomain {
            last_seen: date(2026, 11, 1),
            ..lost[0].clone()
        };
        assert_eq!(found(&[&good, &evil, &old], 0), ("lowest", 0));
        let owned = listed("ours.test", Class::Owned);
        assert_eq!(found(&[&owned, &lost[0]], 7), ("cleared", 0));
    }

    #[test]
    fn only_a_domain_with_an_owner_clears_an_address() {
        let owned = listed("ours.test", Class::Owned);
        let platform = listed("pages.test", Class::Shared);
        let evil = seen("evil.test", 95.0);
        check(vec![evil.clone(), owned], 5, "cleared", Base::Cleared);
        check(vec![evil, platform.clone()], 5, "lowest", Base::Pivot(95.0));
        check(vec![platform.clone()], 5, "no_domains", Base::Model(77.0));
        let lax = PivotPolicy {
            any_entry_clears: true,
            ..PivotPolicy::default()
        };
        let found = pivot(known(vec![platform]), 5, &lax, TODAY);
        assert_eq!(found.status(), "cleared");
    }

    proptest! {
        #[test]
        fn the_order_of_passive_dns_does_not_matter(
            scores in prop::collection::vec((0.0..100.0f64, 0u64..3, 0i8..40), 0..12), most in 0usize..8,
        ) {
            let domain = |(index, (score, count, age)): (usize, &(f64, u64, i8))| SeenDomain {
                count: *count,
                last_seen: TODAY.saturating_sub(i32::from(*age).days()),
                ..seen(&format!("{index}.test"), *score)
            };
            let domains: Vec<_> = scores.iter().enumerate().map(domain).collect();
            let mut backwards = domains.clone();
            backwards.reverse();
            let policy = PivotPolicy::default();
            let found = pivot(known(domains.clone()), most, &policy, TODAY);
            prop_assert_eq!(&found, &pivot(known(backwards), most, &policy, TODAY));
            if let Pivot::Lowest { score, of, .. } = found {
                prop_assert!(of <= most);
                prop_assert!(domains.iter().any(|domain| domain.score == score));
            }
        }
    }
}
