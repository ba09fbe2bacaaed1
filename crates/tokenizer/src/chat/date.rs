//! The date, as Python's `datetime.now().strftime` writes it on Linux.
//!
//! Python fills in the microseconds and, as such a time knows no zone, nothing for the zone; the C
//! library does the rest. Both are followed to the letter, flags, widths and unknown codes included.

use jiff::civil::{DateTime, Weekday};
use jiff::{Timestamp, ZonedDateTime, tz::TimeZone};
use std::borrow::Cow;
use std::time::SystemTime;

/// Bytes of the longest format that is taken. Python gives a text of up to 256 characters for each
/// of the format's.
const MAX_FORMAT_BYTES: usize = 256;
/// Python begins with this room and doubles it until it is [`ROOM_PER_CHAR`] times the format.
const MIN_ROOM: usize = 1024;
const ROOM_PER_CHAR: usize = 256;
/// The most that one call makes.
pub(super) const MAX_BYTES: u64 = (MAX_FORMAT_BYTES * ROOM_PER_CHAR) as u64;

/// A moment as a clock on the wall shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    clock: DateTime,
    unix_seconds: i64,
}

impl LocalTime {
    /// Now, in this machine's time zone: that of the variable `TZ`, else of `/etc/localtime`, else UTC.
    #[must_use]
    pub fn now() -> LocalTime {
        LocalTime::of(&ZonedDateTime::now())
    }

    /// `moment` in a time zone by its name (`Europe/Berlin`) or by its rule (`CET-1CEST,M3.5.0,M10.5.0/3`);
    /// `None` where neither is known, or before the year 1 or after 9999.
    #[must_use]
    pub fn at(moment: SystemTime, zone: &str) -> Option<LocalTime> {
        let zone = TimeZone::get(zone).or_else(|_| TimeZone::posix(zone)).ok()?;
        let time = LocalTime::of(&Timestamp::try_from(moment).ok()?.to_zoned_datetime(zone));
        (time.clock.year() > 0).then_some(time)
    }

    fn of(time: &ZonedDateTime) -> LocalTime {
        LocalTime { clock: time.datetime(), unix_seconds: time.timestamp().as_second() }
    }
}

/// Whether a date by `format` is the same all day long.
pub(super) fn is_of_the_day(format: &str) -> bool {
    // They differ in everything that a clock shows.
    let moment = |hour, minute, second, microsecond, unix_seconds| LocalTime {
        clock: jiff::civil::date(2024, 2, 29).at(hour, minute, second, microsecond * 1000),
        unix_seconds,
    };
    let [night, day] = [moment(0, 0, 0, 0, 0), moment(13, 35, 47, 123_456, 1)]
        .map(|moment| strftime(format, &moment).ok());
    night.is_some() && night == day
}

/// `time` by a format of Python's `strftime`, or what is wrong with the format.
pub(super) fn strftime(format: &str, time: &LocalTime) -> Result<String, String> {
    let num_bytes = format.len();
    if num_bytes > MAX_FORMAT_BYTES {
        return Err(format!(
            "strftime_now() by a format of {num_bytes} bytes, at most {MAX_FORMAT_BYTES} are taken"
        ));
    }
    let format = without_zone(format, time);
    let mut room = MIN_ROOM;
    while room < ROOM_PER_CHAR * format.chars().count() {
        room *= 2;
    }
    // What does not fit is nothing, in Python too.
    Ok(written(&format, time, room).unwrap_or_default())
}

/// What Python itself fills in.
fn without_zone(format: &str, time: &LocalTime) -> String {
    let mut out = String::with_capacity(format.len());
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let code = &rest[at..];
        let (part, len) = match code.as_bytes().get(1) {
            Some(b'f') => (format!("{:06}", time.clock.subsec_nanosecond() / 1000), 2),
            Some(b'z' | b'Z') => (String::new(), 2),
            Some(b':') if code[2..].starts_with('z') => (String::new(), 3),
            Some(b'%') => ("%%".to_owned(), 2),
            _ => ("%".to_owned(), 1),
        };
        out.push_str(&part);
        rest = &code[len..];
    }
    out + rest
}

/// What the C library does, if that has fewer characters than `room`.
fn written(format: &str, time: &LocalTime, room: usize) -> Option<String> {
    let mut out = Writer { text: String::new(), left: room };
    let mut letters = format.char_indices().peekable();
    while let Some((start, letter)) = letters.next() {
        if letter != '%' {
            out.push(letter)?;
            continue;
        }
        let mut style = Style::default();
        while let Some((_, flag)) =
            letters.next_if(|&(_, flag)| matches!(flag, '_' | '-' | '0' | '^' | '#'))
        {
            match flag {
                '^' => style.is_upper = true,
                '#' => style.is_changed = true,
                pad => style.pad = Some(pad),
            }
        }
        while let Some((_, digit)) = letters.next_if(|(_, digit)| digit.is_ascii_digit()) {
            let digit = digit as usize - '0' as usize;
            style.width = style.width.saturating_mul(10).saturating_add(digit);
        }
        let modifier = letters.next_if(|&(_, modifier)| matches!(modifier, 'E' | 'O'));
        let code = letters.next();
        let end = code.map_or(format.len(), |(at, code)| at + code.len_utf8());
        let modifier = modifier.map(|(_, modifier)| modifier);
        match code.and_then(|(_, code)| part(code, modifier, time, &mut style)) {
            Some(Part::Text(text)) => out.add(&style, &text)?,
            Some(Part::Number { value, num_digits }) => {
                out.add_number(&style, value, num_digits)?;
            }
            Some(Part::Format(format)) => {
                let text = written(format, time, room)?;
                out.add(&style, &text)?;
            }
            // A code that does not exist stands for itself, from its last `%` on.
            None => {
                let from = format[..end].rfind('%').unwrap_or(start);
                out.add(&style, &format[from..end])?;
            }
        }
    }
    Some(out.text)
}

/// How a part is written: `%-d`, `%_10d`, `%^a`.
#[derive(Default)]
struct Style {
    pad: Option<char>,
    is_upper: bool,
    is_lower: bool,
    /// `#`
    is_changed: bool,
    width: usize,
}

enum Part {
    Text(Cow<'static, str>),
    Number {
        value: i64,
        num_digits: usize,
    },
    /// Other codes together.
    Format(&'static str),
}

/// What `code` stands for; `None` where it does not exist.
fn part(code: char, modifier: Option<char>, time: &LocalTime, style: &mut Style) -> Option<Part> {
    // Another calendar's (`E`) and other digits (`O`) are these, where a code takes them.
    let takes = match code {
        'c' | 'x' | 'X' | 'Y' => "E",
        'd' | 'e' | 'H' | 'I' | 'k' | 'l' | 'j' | 'M' | 'm' | 'S' | 'U' | 'V' | 'W' | 'w' | 'G'
        | 'g' | 'b' | 'h' | 'B' => "O",
        'a' | 'A' | 'D' | 'F' | '%' => "",
        _ => "EO",
    };
    if modifier.is_some_and(|modifier| !takes.contains(modifier)) {
        return None;
    }
    let number = |value: i64, num_digits| Some(Part::Number { value, num_digits });
    let text = |text: &'static str| Some(Part::Text(text.into()));
    let date = time.clock.date();
    let (year, day_of_year) = (i64::from(date.year()), i64::from(date.day_of_year()));
    let hour = i64::from(time.clock.hour());
    let hour_of_12 = (hour + 11) % 12 + 1;
    let weekday = date.weekday();
    let (from_monday, from_sunday) =
        (i64::from(weekday.to_monday_zero_offset()), i64::from(weekday.to_sunday_zero_offset()));
    let iso = date.iso_week_date();
    let iso_year = i64::from(iso.year());
    if matches!(code, 'a' | 'A' | 'b' | 'B' | 'h') && style.is_changed {
        style.is_upper = true;
    }
    if matches!(code, 'e' | 'k' | 'l') {
        style.pad.get_or_insert('_');
    }
    match code {
        'Y' => number(year, 1),
        'C' => number(year / 100, 1),
        'y' => number(year % 100, 2),
        'G' => number(iso_year, 1),
        'g' => number(iso_year % 100, 2),
        'm' => number(date.month().into(), 2),
        'd' | 'e' => number(date.day().into(), 2),
        'j' => number(day_of_year, 3),
        'H' | 'k' => number(hour, 2),
        'I' | 'l' => number(hour_of_12, 2),
        'M' => number(time.clock.minute().into(), 2),
        'S' => number(time.clock.second().into(), 2),
        's' => Some(Part::Text(time.unix_seconds.to_string().into())),
        'u' => number(from_monday + 1, 1),
        'w' => number(from_sunday, 1),
        'U' => number((day_of_year + 6 - from_sunday) / 7, 2),
        'W' => number((day_of_year + 6 - from_monday) / 7, 2),
        'V' => number(iso.week().into(), 2),
        'A' => text(day_name(weekday)),
        'a' => text(&day_name(weekday)[..3]),
        'B' => text(month_name(date.month())),
        'b' | 'h' => text(&month_name(date.month())[..3]),
        'p' | 'P' => {
            style.is_lower = code == 'P' || style.is_changed;
            text(if hour < 12 { "AM" } else { "PM" })
        }
        'c' => Some(Part::Format("%a %b %e %H:%M:%S %Y")),
        'D' | 'x' => Some(Part::Format("%m/%d/%y")),
        'F' => Some(Part::Format("%Y-%m-%d")),
        'R' => Some(Part::Format("%H:%M")),
        'r' => Some(Part::Format("%I:%M:%S %p")),
        'T' | 'X' => Some(Part::Format("%H:%M:%S")),
        'n' => text("\n"),
        't' => text("\t"),
        '%' => text("%"),
        // A time that knows no zone has none of that name.
        'Z' => text(""),
        'z' => {
            style.width = 0;
            text("")
        }
        _ => None,
    }
}

fn day_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Monday",
        Weekday::Tuesday => "Tuesday",
        Weekday::Wednesday => "Wednesday",
        Weekday::Thursday => "Thursday",
        Weekday::Friday => "Friday",
        Weekday::Saturday => "Saturday",
        Weekday::Sunday => "Sunday",
    }
}

fn month_name(month: i8) -> &'static str {
    match month {
        1 => "January",
        2 => "February",
        3 => "March",
        4 => "April",
        5 => "May",
        6 => "June",
        7 => "July",
        8 => "August",
        9 => "September",
        10 => "October",
        11 => "November",
        _ => "December",
    }
}

/// Takes text as long as there is room.
struct Writer {
    text: String,
    left: usize,
}

impl Writer {
    fn push(&mut self, letter: char) -> Option<()> {
        self.left = self.left.checked_sub(1).filter(|&left| left > 0)?;
        self.text.push(letter);
        Some(())
    }

    fn fill(&mut self, letter: char, times: usize) -> Option<()> {
        if times >= self.left {
            return None;
        }
        (0..times).try_for_each(|_| self.push(letter))
    }

    /// `text`, after what fills it up to its width.
    fn add(&mut self, style: &Style, text: &str) -> Option<()> {
        let pad = if style.pad == Some('0') { '0' } else { ' ' };
        self.fill(pad, style.width.saturating_sub(text.chars().count()))?;
        text.chars().try_for_each(|letter| {
            self.push(match style {
                Style { is_lower: true, .. } => letter.to_ascii_lowercase(),
                Style { is_upper: true, .. } => letter.to_ascii_uppercase(),
                _ => letter,
            })
        })
    }

    fn add_number(&mut self, style: &Style, value: i64, num_digits: usize) -> Option<()> {
        let digits = value.to_string();
        let (pad, num_digits) = match style.pad {
            Some('-') => (' ', style.width),
            Some('_') => (' ', num_digits.max(style.width)),
            _ => ('0', num_digits.max(style.width)),
        };
        self.fill(pad, num_digits.saturating_sub(digits.len()))?;
        digits.chars().try_for_each(|digit| self.push(digit))
    }
}
