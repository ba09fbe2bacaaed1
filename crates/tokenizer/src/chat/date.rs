//! The date, as Python's `strftime` writes it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now (UTC) by a format of Python's `strftime`.
pub(super) fn strftime_now(format: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |passed| passed.as_secs());
    strftime(format, now)
}

fn strftime(format: &str, unix_seconds: u64) -> String {
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    const DAYS: [&str; 7] =
        ["Thursday", "Friday", "Saturday", "Sunday", "Monday", "Tuesday", "Wednesday"];
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let is_leap = |year: u64| {
        let divides = |by: u64| year.is_multiple_of(by);
        divides(4) && !divides(100) || divides(400)
    };
    let (mut year, mut day) = (1970, days);
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let weekday = DAYS[(days % 7) as usize];
    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        let part = match letters.next() {
            Some('Y') => year.to_string(),
            Some('y') => format!("{:02}", year % 100),
            Some('m') => format!("{:02}", month + 1),
            Some('d') => format!("{:02}", day + 1),
            Some('B') => MONTHS[month].to_owned(),
            Some('b') => MONTHS[month][..3].to_owned(),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('H') => format!("{:02}", second / 3600),
            Some('M') => format!("{:02}", second / 60 % 60),
            Some('S') => format!("{:02}", second % 60),
            Some('%') => "%".to_owned(),
            Some(other) => format!("%{other}"),
            None => "%".to_owned(),
        };
        out.push_str(&part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_python_writes_them() {
        for (seconds, want) in [
            (0, "1970-01-01 Thu 01 Jan 70 00:00:00"),
            (1_709_210_096, "2024-02-29 Thu 29 Feb 24 12:34:56"),
            (1_735_689_599, "2024-12-31 Tue 31 Dec 24 23:59:59"),
        ] {
            assert_eq!(strftime("%Y-%m-%d %a %d %b %y %H:%M:%S", seconds), want);
        }
    }
}
