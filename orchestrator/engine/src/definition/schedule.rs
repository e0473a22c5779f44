//! When a schedule fires: a cron expression in a time zone, and its nominal times. Pure: the time zones are those compiled in, so that
//! every machine finds the same times; what the present time is comes in as an argument.

use baton_messages::Timestamp;
use croner::Cron;
use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Zoned;
use jiff::tz::{TimeZone, TimeZoneDatabase};

/// Most missed times `catch_up: all` makes up for, the newest: whoever was away for longer wants to be back, not to repeat a year.
pub const CATCH_UP_MAX: usize = 100;

/// What is done about the times that came while nobody ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CatchUp {
    /// Nothing.
    None,
    /// The last of them is made up for.
    #[default]
    Last,
    /// All of them, at most [`CATCH_UP_MAX`], oldest first.
    All,
}

/// What happens when the saga of the firing before has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overlap {
    /// This firing is left out.
    #[default]
    Skip,
    /// Both run.
    Allow,
}

/// A cron expression in a time zone.
///
/// A nominal time is a moment of UTC, and each comes once: what a clock set forward leaps over fires at the first moment after the gap,
/// what a clock set back shows twice fires at the first of the two; `* * * * *` and the like fire in both.
#[derive(Debug, Clone)]
pub struct Schedule {
    cron: Box<Cron>,
    text: String,
    zone: TimeZone,
    zone_name: String,
}

/// Why there is no such schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// The cron expression cannot be read.
    #[error("`{text}` is no schedule: {why}")]
    Cron {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// It never fires, as on the 30th of February.
    #[error("`{text}` never comes")]
    Never {
        /// What was written.
        text: String,
    },
    /// No such time zone.
    #[error("there is no time zone `{name}`")]
    Zone {
        /// What was written.
        name: String,
    },
}

impl Schedule {
    /// Reads a cron expression of five fields, or six with seconds first, and the IANA name of a time zone.
    ///
    /// # Errors
    /// Which of the two is wrong, and how.
    pub fn new(text: &str, zone_name: &str) -> Result<Self, ScheduleError> {
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let cron = parser.parse(text).map_err(|error| ScheduleError::Cron {
            text: text.to_owned(),
            why: fault(text, &error),
        })?;
        let zone = TimeZoneDatabase::bundled().get(zone_name);
        let zone = zone.map_err(|_| ScheduleError::Zone {
            name: zone_name.to_owned(),
        })?;
        let schedule = Self {
            cron: Box::new(cron),
            text: text.to_owned(),
            zone,
            zone_name: zone_name.to_owned(),
        };
        if schedule.next_after(Timestamp(0)).is_none() {
            return Err(ScheduleError::Never {
                text: text.to_owned(),
            });
        }
        Ok(schedule)
    }

    /// The cron expression as written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The time zone as written.
    #[must_use]
    pub fn timezone(&self) -> &str {
        &self.zone_name
    }

    /// The first nominal time after that moment; none when time has an end before it.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        let next = self.cron.find_next_occurrence(&self.zoned(after)?, false);
        instant(&next.ok()?)
    }

    /// The last nominal time at or before that moment.
    #[must_use]
    pub fn last_until(&self, until: Timestamp) -> Option<Timestamp> {
        let last = self
            .cron
            .find_previous_occurrence(&self.zoned(until)?, true);
        instant(&last.ok()?)
    }

    /// The nominal times after `after` up to and with `until`, ascending: the newest `most` of them.
    #[must_use]
    pub fn between(&self, after: Timestamp, until: Timestamp, most: usize) -> Vec<Timestamp> {
        let mut times = Vec::new();
        let mut at = self.last_until(until);
        while let Some(time) = at.filter(|time| *time > after && times.len() < most) {
            times.push(time);
            at = time
                .0
                .checked_sub(1)
                .and_then(|before| self.last_until(Timestamp(before)));
        }
        times.reverse();
        times
    }

    fn zoned(&self, at: Timestamp) -> Option<Zoned> {
        let ms = i64::try_from(at.0).ok()?;
        let at = jiff::Timestamp::from_millisecond(ms).ok()?;
        Some(at.to_zoned(self.zone.clone()))
    }
}

/// The fields of a cron expression, with the least and the most each takes; the first may be left out.
const FIELDS: [(&str, u32, u32); 6] = [
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 7),
];

/// What is wrong with a cron expression that was refused, by its fields where that can be told; the parser names none.
fn fault(text: &str, error: &CronError) -> String {
    let fields: Vec<&str> = text.split_whitespace().collect();
    if !matches!(fields.len(), 5 | 6) {
        return format!("five fields belong in it, and it has {}", fields.len());
    }
    // from the end, where the seconds are not
    let mut named = fields.iter().rev().zip(FIELDS.iter().rev());
    let found = named.find_map(|(field, of)| outside(field, of));
    found.unwrap_or_else(|| match error {
        CronError::InvalidPattern(what)
        | CronError::IllegalCharacters(what)
        | CronError::ComponentError(what) => what.trim_end_matches('.').to_owned(),
        CronError::EmptyPattern
        | CronError::InvalidDate
        | CronError::InvalidTime
        | CronError::TimeSearchLimitExceeded => error.to_string().trim_end_matches('.').to_owned(),
    })
}

/// A number in a field that it does not take.
fn outside(field: &str, (name, least, most): &(&str, u32, u32)) -> Option<String> {
    let starts = field.split(',').filter_map(|part| part.split('/').next());
    let mut numbers = starts
        .flat_map(|part| part.split('-'))
        .filter_map(|number| number.parse::<u32>().ok());
    let number = numbers.find(|number| !(*least..=*most).contains(number))?;
    Some(format!(
        "`{number}` is no {name}, which is {least} to {most}"
    ))
}

fn instant(at: &Zoned) -> Option<Timestamp> {
    u64::try_from(at.timestamp().as_millisecond())
        .ok()
        .map(Timestamp)
}

/// A moment as people and other services read it: RFC 3339, UTC.
#[must_use]
pub fn rfc3339(at: Timestamp) -> String {
    let ms = i64::try_from(at.0).unwrap_or(i64::MAX);
    // Beyond the year 9999 there is no such text; a number says it as well.
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| at.0.to_string(), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let at: jiff::Timestamp = text.parse().unwrap();
        Timestamp(u64::try_from(at.as_millisecond()).unwrap())
    }

    fn texts(times: &[Timestamp]) -> Vec<String> {
        times.iter().map(|time| rfc3339(*time)).collect()
    }

    #[test]
    fn a_schedule_fires_at_its_nominal_times() {
        let daily = Schedule::new("0 2 * * *", "Europe/Vienna").unwrap();
        assert_eq!(
            daily.next_after(at("2026-01-10T00:59:59Z")),
            Some(at("2026-01-10T01:00:00Z"))
        );
        assert_eq!(
            daily.next_after(at("2026-01-10T01:00:00Z")),
            Some(at("2026-01-11T01:00:00Z"))
        );
        assert_eq!(
            daily.last_until(at("2026-07-10T00:00:00Z")),
            Some(at("2026-07-10T00:00:00Z"))
        );
        let seconds = Schedule::new("*/20 * * * * *", "UTC").unwrap();
        assert_eq!(
            seconds.next_after(at("2026-01-10T00:00:21Z")),
            Some(at("2026-01-10T00:00:40Z"))
        );
        let fridays = Schedule::new("0 9 * * 5", "UTC").unwrap();
        assert_eq!(
            fridays.next_after(at("2026-11-22T00:00:00Z")),
            Some(at("2026-11-27T09:00:00Z"))
        );
    }

    #[test]
    fn what_was_missed_is_found_newest_first_and_told_in_order() {
        let hourly = Schedule::new("0 * * * *", "UTC").unwrap();
        let (from, to) = (at("2026-01-10T00:00:00Z"), at("2026-01-10T03:30:00Z"));
        assert_eq!(
            texts(&hourly.between(from, to, 2)),
            ["2026-01-10T02:00:00Z", "2026-01-10T03:00:00Z"]
        );
        assert_eq!(hourly.between(from, to, CATCH_UP_MAX).len(), 3);
        assert!(hourly.between(to, from, 10).is_empty());
    }

    #[test]
    fn a_clock_that_is_set_leaves_no_firing_out_and_makes_none_twice() {
        let night = Schedule::new("30 2 * * *", "Europe/Vienna").unwrap();
        // 02:30 does not exist on the 29th of March: the first moment after the gap stands for it.
        let spring = night.between(at("2026-03-28T12:00:00Z"), at("2026-03-30T12:00:00Z"), 10);
        assert_eq!(
            texts(&spring),
            ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
        );
        // 02:30 comes twice on the 25th of October: once is enough.
        let autumn = night.between(at("2026-10-24T12:00:00Z"), at("2026-10-26T12:00:00Z"), 10);
        assert_eq!(
            texts(&autumn),
            ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]
        );
    }

    #[test]
    fn forward_and_backward_find_the_same_times() {
        for (cron, zone) in [
            ("30 2 * * *", "Europe/Vienna"),
            ("*/15 1-3 * * *", "America/New_York"),
            ("0 0 1 * *", "Asia/Kolkata"),
        ] {
            let schedule = Schedule::new(cron, zone).unwrap();
            let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-12-31T00:00:00Z"));
            let mut forward = Vec::new();
            let mut next = schedule.next_after(from);
            while let Some(time) = next.filter(|time| *time <= to) {
                forward.push(time);
                next = schedule.next_after(time);
            }
            assert_eq!(
                forward,
                schedule.between(from, to, usize::MAX),
                "{cron} {zone}"
            );
        }
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in ["", "* * * *", "61 * * * *", "soon", "0 0 * * * * 2026"] {
            let refused = Schedule::new(text, "UTC");
            assert!(matches!(refused, Err(ScheduleError::Cron { .. })), "{text}");
        }
        for (text, said) in [
            ("0 25 * * *", "`25` is no hour, which is 0 to 23"),
            ("0 0 2 1-13 *", "`13` is no month, which is 1 to 12"),
            ("61 0 2 * * *", "`61` is no second, which is 0 to 59"),
            ("0 2 *", "five fields belong in it, and it has 3"),
        ] {
            let Err(ScheduleError::Cron { why, .. }) = Schedule::new(text, "UTC") else {
                panic!("{text} was read");
            };
            assert_eq!(why, said, "{text}");
        }
        let zone = Schedule::new("* * * * *", "Europe/Wien");
        assert!(matches!(zone, Err(ScheduleError::Zone { .. })));
        let never = Schedule::new("0 0 30 2 *", "UTC");
        assert!(
            matches!(never, Err(ScheduleError::Never { .. })),
            "{never:?}"
        );
    }
}
