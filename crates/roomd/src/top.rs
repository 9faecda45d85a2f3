//! A server's rooms as text: once, or as a screen that is drawn again and again.

use std::fmt::Write as _;

use serde_json::Value;

/// The level at which the meter is empty, in dBov.
const FLOOR_DBOV: i64 = -60;

/// Cells of the bar beside it.
const FILL_CELLS: usize = 10;

/// Cells of the meter.
const CELLS: i64 = 20;

/// An answer for people to read.
pub(crate) fn text(answer: &Value) -> String {
    let mut out = String::new();
    if let Some(rooms) = answer["rooms"].as_array() {
        draw(&mut out, rooms);
    } else if let Some(sdp) = answer["sdp"].as_str() {
        out.push_str(sdp);
    } else if let Some(names) = ["bans", "accounts"].iter().find_map(|key| answer[key].as_array()) {
        for name in names.iter().filter_map(Value::as_str) {
            let _ = writeln!(out, "{name}");
        }
    } else if let Some(figures) = answer.as_object().filter(|figures| !figures.contains_key("ok")) {
        for (name, value) in figures {
            let _ = writeln!(out, "{name:<20} {value}");
        }
    }
    out
}

/// The live view, from the top left corner of a terminal on.
pub(crate) fn screen(list: &Value, stats: &Value) -> String {
    let mut out = "\x1b[H".to_owned();
    let number = |key: &str| stats[key].as_u64().unwrap_or(0);
    let _ = writeln!(
        out,
        "{} people, {} rooms, {} connections; packets: {} in, {} out, {} refused, {} foreign",
        number("members"),
        number("rooms"),
        number("connections"),
        number("packetsReceived"),
        number("packetsSent"),
        number("packetsRefused"),
        number("packetsForeign"),
    );
    draw(&mut out, list["rooms"].as_array().map_or(&[], Vec::as_slice));
    // Each line to its end, and what an earlier, longer view has left below.
    out.replace('\n', "\x1b[K\r\n") + "\x1b[J"
}

fn draw(out: &mut String, rooms: &[Value]) {
    for room in rooms {
        let flag = |key: &str, word: &'static str| if room[key].as_bool() == Some(true) { word } else { "" };
        let recorded = if room["recorders"].as_u64().unwrap_or(0) > 0 { " recorded" } else { "" };
        let _ = writeln!(
            out,
            "{}{}{}{}{recorded}",
            shown(&room["name"]),
            flag("locked", " locked"),
            flag("kept", " kept"),
            flag("muted", " muted"),
        );
        for member in room["members"].as_array().into_iter().flatten() {
            let _ = writeln!(out, "{}", line(member));
        }
    }
}

fn line(member: &Value) -> String {
    let is = |key: &str| member[key].as_bool() == Some(true);
    let mark = if is("operator") { '@' } else { ' ' };
    let state = match () {
        () if is("away") => "away",
        () if is("muted") => "muted",
        () if is("talking") => "talks",
        () if is("voice") => "listens",
        () => "reads",
    };
    let level = if is("talking") { member["levelDbov"].as_i64() } else { None };
    let carrier = member["path"]["carrier"].as_str().unwrap_or("-");
    let trip = member["roundTripTimeMs"].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
    format!(
        "  {mark}{:<32} {state:<8} {} {} {carrier:<11} {trip:>9}",
        shown(&member["nick"]),
        meter(level),
        jitter(member)
    )
}

/// What is left of the mixer's buffer when the latest packets come, as a bar, and how late those are.
fn jitter(member: &Value) -> String {
    let fill = member["bufferFill"].as_f64();
    let filled = fill.map_or(0, |fill| (fill * FILL_CELLS as f64).round() as usize);
    let late = member["lateMs"].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.0} ms late"));
    format!("[{}{}] {late:>12}", "=".repeat(filled), " ".repeat(FILL_CELLS - filled))
}

fn meter(level: Option<i64>) -> String {
    let filled = level.map_or(0, |level| ((level - FLOOR_DBOV) * CELLS / -FLOOR_DBOV).clamp(0, CELLS));
    let told = level.map_or_else(|| "    ".to_owned(), |level| format!("{level:>4}"));
    format!("[{}{}] {told} dBov", "#".repeat(filled as usize), " ".repeat((CELLS - filled) as usize))
}

/// A name, which strangers choose, without what a terminal would obey.
fn shown(name: &Value) -> String {
    name.as_str().unwrap_or_default().chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_room_is_shown_with_who_is_in_it_and_how_loud() {
        let list = json!({ "rooms": [{ "name": "#lobby", "locked": true, "recorders": 1, "members": [
            { "nick": "Ana", "operator": true, "voice": true, "talking": true, "levelDbov": -30, "bufferFill": 0.5, "lateMs": 40.0,
              "path": { "carrier": "udp" }, "roundTripTimeMs": 1.25 },
            { "nick": "Bob\u{1b}[2J", "away": true },
        ]}]});
        let text = text(&list);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "#lobby locked recorded");
        assert!(lines[1].contains("@Ana") && lines[1].contains("talks") && lines[1].contains("[##########"), "{text}");
        assert!(lines[1].contains("[=====     ]") && lines[1].contains("40 ms late"), "{text}");
        assert!(lines[2].contains("away") && !text.contains('\u{1b}'), "{text}");
    }
}
