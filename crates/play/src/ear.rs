//! How long what was said takes until it is heard.

/// Delays from mouth to ear, in ns.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ear {
    count: i64,
    sum: i128,
    least: Option<i64>,
    most: Option<i64>,
}

impl Ear {
    /// Something will be heard `ns` after it was captured.
    pub(crate) fn hear(&mut self, ns: i64) {
        self.count += 1;
        self.sum += i128::from(ns);
        self.least = Some(self.least.map_or(ns, |least| least.min(ns)));
        self.most = Some(self.most.map_or(ns, |most| most.max(ns)));
    }

    /// The mean; none where nothing said when it was captured.
    pub(crate) fn mean(&self) -> Option<i64> {
        (self.count > 0).then(|| (self.sum / i128::from(self.count)) as i64)
    }

    /// The least.
    pub(crate) const fn least(&self) -> Option<i64> {
        self.least
    }

    /// The most.
    pub(crate) const fn most(&self) -> Option<i64> {
        self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_and_extremes_are_of_all_that_was_heard() {
        let mut ear = Ear::default();
        assert_eq!(ear.mean(), None);
        for ns in [30, 10, 20] {
            ear.hear(ns);
        }
        assert_eq!((ear.mean(), ear.least(), ear.most()), (Some(20), Some(10), Some(30)));
    }
}
