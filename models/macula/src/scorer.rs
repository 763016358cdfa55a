//! The scorer: the lists and the policy of this process, and what they say about an item.

use crate::answer::{Answer, Answers, Flat};
use crate::judgement::{Base, Judgement, Policy, judge};
use crate::options::Options;
use crate::request::{Item, ScoreRequest};
use indicators::Indicator;
use threat_lists::Lists;

/// Scores indicators.
#[derive(Debug)]
pub struct Scorer {
    lists: Lists,
    policy: Policy,
}

impl Scorer {
    /// A scorer by these lists.
    pub fn new(lists: Lists, policy: Policy) -> Scorer {
        Scorer { lists, policy }
    }

    /// The lists it goes by.
    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    /// Scores one indicator.
    pub fn judge(&self, indicator: &Indicator, options: &Options) -> Judgement<'_> {
        let hits = self.lists.find(indicator, |kind| options.allows(kind));
        judge(Base::Neutral, hits, &self.policy)
    }

    /// Answers a batch. Each item gets its answer, whatever the others are.
    pub fn answer<'a>(&'a self, request: &'a ScoreRequest) -> Answers<'a> {
        let answers = request.items.iter().map(|item| {
            let answer = match &item.indicator {
                Ok(indicator) => {
                    let judgement = self.judge(indicator, &request.options);
                    Answer::judged(indicator, &judgement, &request.options)
                }
                Err(error) => Answer::failed(error),
            };
            (item.key.as_str(), answer)
        });
        Answers(answers.collect())
    }

    /// Answers about one item with a flat object.
    pub fn answer_flat<'a>(&'a self, item: &'a Item, options: &Options) -> Flat<'a> {
        let judgement = item
            .indicator
            .as_ref()
            .ok()
            .map(|indicator| self.judge(indicator, options));
        Flat::new(item, judgement.as_ref())
    }
}
