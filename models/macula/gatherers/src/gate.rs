//! The gate: whether a source may hear of an indicator at all.
//!
//! A question tells somebody that we look at an indicator: the provider of a service, or, when its own name servers are asked,
//! the very adversary. Those who share indicators mark who may know of them (TLP, the traffic light protocol) and what may be
//! done with them (PAP, the permissible actions protocol). What is marked too strictly for a source is not asked there.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::feature::Missing;

/// Who may know of an indicator: the traffic light protocol, version 2.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Tlp {
    /// Everybody. What is not marked is taken for this.
    #[default]
    Clear,
    /// The community.
    Green,
    /// The organisation and its clients.
    Amber,
    /// The organisation.
    AmberStrict,
    /// Those who were told.
    Red,
}

/// What may be done with an indicator: the permissible actions protocol.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Pap {
    /// Anything. What is not marked is taken for this.
    #[default]
    Clear,
    /// Anything that is no attack, also what the adversary can see.
    Green,
    /// Third parties may be asked; nothing may reach the adversary.
    Amber,
    /// Nothing may leave the house.
    Red,
}

/// Who learns of an indicator when a source is asked about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leaks {
    /// Nobody: the source is on this machine.
    Nothing,
    /// Whoever runs the service.
    ToProvider,
    /// Whoever runs the indicator's own servers.
    ToAdversary,
}

impl FromStr for Tlp {
    type Err = UnknownMarking;

    /// Reads `green`, `TLP:AMBER+STRICT`, `white` and the like.
    fn from_str(text: &str) -> Result<Tlp, UnknownMarking> {
        match marking(text, "tlp").as_str() {
            "clear" | "white" => Ok(Tlp::Clear),
            "green" => Ok(Tlp::Green),
            "amber" => Ok(Tlp::Amber),
            "amber+strict" | "amber-strict" => Ok(Tlp::AmberStrict),
            "red" => Ok(Tlp::Red),
            _ => Err(UnknownMarking(text.into())),
        }
    }
}

impl FromStr for Pap {
    type Err = UnknownMarking;

    /// Reads `amber`, `PAP:RED`, `white` and the like.
    fn from_str(text: &str) -> Result<Pap, UnknownMarking> {
        match marking(text, "pap").as_str() {
            "clear" | "white" => Ok(Pap::Clear),
            "green" => Ok(Pap::Green),
            "amber" => Ok(Pap::Amber),
            "red" => Ok(Pap::Red),
            _ => Err(UnknownMarking(text.into())),
        }
    }
}

fn marking(text: &str, protocol: &str) -> String {
    let text = text.trim().to_ascii_lowercase();
    match text.split_once(':') {
        Some((before, colour)) if before == protocol => colour.into(),
        _ => text,
    }
}

/// A marking that the protocol does not have. It must not be taken for the mildest one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no marking: use clear, green, amber, amber+strict (TLP only) or red")]
pub struct UnknownMarking(String);

/// How an indicator is marked, and whether anybody may be asked at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Handling {
    /// Who may know of it.
    pub tlp: Tlp,
    /// What may be done with it.
    pub pap: Pap,
    /// Ask nobody outside, whatever the markings allow.
    pub offline: bool,
}

/// Whether a source may be asked. `max_tlp` is the strictest marking its operator trusts it with.
///
/// # Errors
/// The reason why not.
pub(crate) fn admit(leaks: Leaks, max_tlp: Tlp, handling: Handling) -> Result<(), Missing> {
    if leaks == Leaks::Nothing {
        return Ok(());
    }
    if handling.offline {
        return Err(Missing::Offline);
    }
    let allowed_by_pap = match handling.pap {
        Pap::Clear | Pap::Green => true,
        Pap::Amber => leaks != Leaks::ToAdversary,
        Pap::Red => false,
    };
    if handling.tlp > max_tlp || !allowed_by_pap {
        return Err(Missing::Confidential);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(leaks: Leaks, tlp: Tlp, pap: Pap, expected: Result<(), Missing>) {
        let handling = Handling {
            tlp,
            pap,
            offline: false,
        };
        assert_eq!(
            admit(leaks, Tlp::Green, handling),
            expected,
            "{leaks:?} {tlp:?} {pap:?}"
        );
    }

    #[test]
    fn a_source_hears_only_of_what_its_marking_lets_it() {
        let confidential = Err(Missing::Confidential);
        check(Leaks::ToProvider, Tlp::Clear, Pap::Clear, Ok(()));
        check(Leaks::ToProvider, Tlp::Green, Pap::Amber, Ok(()));
        check(Leaks::ToProvider, Tlp::Amber, Pap::Clear, confidential);
        check(Leaks::ToProvider, Tlp::Clear, Pap::Red, confidential);
        check(Leaks::ToAdversary, Tlp::Green, Pap::Green, Ok(()));
        check(Leaks::ToAdversary, Tlp::Clear, Pap::Amber, confidential);
        check(Leaks::Nothing, Tlp::Red, Pap::Red, Ok(()));
    }

    #[test]
    fn offline_asks_only_what_is_here() {
        let handling = Handling {
            offline: true,
            ..Handling::default()
        };
        assert_eq!(admit(Leaks::Nothing, Tlp::Clear, handling), Ok(()));
        assert_eq!(
            admit(Leaks::ToProvider, Tlp::Red, handling),
            Err(Missing::Offline)
        );
    }

    #[test]
    fn markings_are_read_as_people_write_them_and_misspelt_ones_refused() {
        assert_eq!("TLP:AMBER+STRICT".parse(), Ok(Tlp::AmberStrict));
        assert_eq!(" white".parse(), Ok(Tlp::Clear));
        assert_eq!("PAP:RED".parse(), Ok(Pap::Red));
        assert!("TLP:RDE".parse::<Tlp>().is_err());
        assert!("tlp:red".parse::<Pap>().is_err());
    }
}
