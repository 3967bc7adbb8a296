//! A QR code as lines of text that a phone can scan from a terminal.
//!
//! Where escape sequences work, both colours are set, so that dark is dark whatever the terminal's
//! own colours are (`NO_COLOR` is about decoration; this is the picture). Where they do not, the light
//! parts are what is printed: most terminals write light on dark.

use qrcodegen::{QrCode, QrCodeEcc};

/// Quiet zone in modules: what the standard asks for, and the least that phones put up with.
const MARGINS: std::ops::RangeInclusive<i32> = 1..=4;
/// Black on white of the fixed part of the 256-colour palette, which no theme changes.
const DARK_ON_LIGHT: &str = "\x1b[38;5;16;48;5;231m";
const LIGHT: &str = "\x1b[48;5;231m";
const DARK: &str = "\x1b[48;5;16m";
const RESET: &str = "\x1b[0m";

/// What the terminal can show.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QrStyle {
    /// The terminal shows half blocks: a character is one module wide and two high. Otherwise two characters
    /// are one.
    pub(crate) blocks: bool,
    /// The terminal understands escape sequences.
    pub(crate) escapes: bool,
}

/// The code that says `text`, one string for each line. The quiet zone is the largest with which it
/// fits so many columns and rows, or at least the columns; an error says why there is none.
pub(crate) fn draw(text: &str, style: QrStyle, columns: usize, rows: usize) -> Result<Vec<String>, String> {
    // More correction would make it larger, and a screen has no scratches.
    let code = QrCode::encode_text(text, QrCodeEcc::Low).map_err(|_| "the code is too long".to_owned())?;
    // Characters that are one module wide, and modules that one line is high.
    let (across, down) = if style.blocks { (1, 2) } else { (2, 1) };
    let side = |margin: i32| code.size() + 2 * margin;
    let room = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let fits = |rows: i32| {
        let fits = |m: &i32| side(*m) * across <= room(columns) && (side(*m) + down - 1) / down <= rows;
        MARGINS.rev().find(fits)
    };
    let Some(margin) = fits(room(rows)).or_else(|| fits(i32::MAX)) else {
        let needed = side(*MARGINS.start()) * across;
        return Err(format!("the terminal has {columns} columns and the code needs {needed}"));
    };
    // Outside of the code every module is light.
    let is_dark = |x: i32, y: i32| code.get_module(x - margin, y - margin);
    let cells = 0..side(margin);
    let line = |y: i32| match (style.blocks, style.escapes) {
        (true, true) => {
            let cells: String = cells.clone().map(|x| half_block(is_dark(x, y), is_dark(x, y + 1))).collect();
            format!("{DARK_ON_LIGHT}{cells}{RESET}")
        }
        (true, false) => cells.clone().map(|x| half_block(!is_dark(x, y), !is_dark(x, y + 1))).collect(),
        (false, true) => {
            let cells = cells.clone().map(|x| [if is_dark(x, y) { DARK } else { LIGHT }, "  "].concat());
            cells.collect::<String>() + RESET
        }
        (false, false) => cells.clone().map(|x| if is_dark(x, y) { "  " } else { "##" }).collect(),
    };
    let step = if style.blocks { 2 } else { 1 };
    Ok(cells.clone().step_by(step).map(line).collect())
}

/// The character of two modules, one above the other; `true` is ink.
fn half_block(above: bool, below: bool) -> char {
    match (above, below) {
        (true, true) => '\u{2588}',
        (true, false) => '\u{2580}',
        (false, true) => '\u{2584}',
        (false, false) => ' ',
    }
}

#[cfg(test)]
mod tests {
    use super::{QrStyle, draw};

    /// As long as what WhatsApp shows.
    fn text() -> String {
        format!("2@{}", "Ab3+/=,".repeat(34))
    }

    const PIXELS: usize = 4;

    /// What another program reads from the picture that a terminal makes of these lines: `true` is
    /// dark, and around them everything is `ground`.
    fn scan(lines: &[String], style: QrStyle, ground: bool) -> String {
        let modules: Vec<Vec<bool>> = lines.iter().flat_map(|line| modules(line, style, ground)).collect();
        let (width, height) = (modules[0].len(), modules.len());
        assert!(modules.iter().all(|row| row.len() == width), "lines of different lengths");
        let pad = 8;
        let mut picture = rqrr::PreparedImage::prepare_from_greyscale(
            (width + 2 * pad) * PIXELS,
            (height + 2 * pad) * PIXELS,
            |x, y| {
                let (x, y) = (x / PIXELS, y / PIXELS);
                let inside = (pad..pad + width).contains(&x) && (pad..pad + height).contains(&y);
                let dark = if inside { modules[y - pad][x - pad] } else { ground };
                if dark { 0 } else { 255 }
            },
        );
        let grids = picture.detect_grids();
        assert_eq!(grids.len(), 1, "one code in the picture");
        grids[0].decode().unwrap().1
    }

    /// One line as a terminal shows it, one or two rows of modules.
    fn modules(line: &str, style: QrStyle, ground: bool) -> Vec<Vec<bool>> {
        let (mut rows, mut fg, mut bg) = ([Vec::new(), Vec::new()], !ground, ground);
        let mut rest = line;
        while let Some(next) = rest.chars().next() {
            if let Some((codes, tail)) = rest.strip_prefix("\x1b[").and_then(|rest| rest.split_once('m')) {
                for code in codes.replace(";5;", ":").split(';') {
                    match code {
                        "38:16" => fg = true,
                        "48:16" => bg = true,
                        "48:231" => bg = false,
                        "0" => (fg, bg) = (!ground, ground),
                        other => panic!("unexpected `{other}`"),
                    }
                }
                rest = tail;
                continue;
            }
            let (top, bottom) = match next {
                '\u{2588}' | '#' => (fg, fg),
                '\u{2580}' => (fg, bg),
                '\u{2584}' => (bg, fg),
                ' ' => (bg, bg),
                other => panic!("unexpected `{other}`"),
            };
            rows[0].push(top);
            rows[1].push(bottom);
            rest = &rest[next.len_utf8()..];
        }
        if style.blocks {
            return rows.into();
        }
        vec![
            rows[0]
                .chunks(2)
                .map(|cell| {
                    assert_eq!(cell[0], cell[1]);
                    cell[0]
                })
                .collect(),
        ]
    }

    #[test]
    fn every_style_reads_as_what_was_drawn() {
        for (blocks, escapes) in [(true, true), (true, false), (false, true), (false, false)] {
            let style = QrStyle { blocks, escapes };
            let lines = draw(&text(), style, 200, 200).unwrap();
            assert_eq!(scan(&lines, style, true), text(), "{style:?} on a dark terminal");
            if escapes {
                assert_eq!(scan(&lines, style, false), text(), "{style:?} on a light terminal");
            }
            assert_eq!(!escapes, lines.iter().all(|line| !line.contains('\x1b')));
            assert_eq!(!blocks, lines.iter().all(|line| line.is_ascii()));
        }
    }

    #[test]
    fn the_quiet_zone_gives_way_before_the_code_does() {
        let style = QrStyle { blocks: true, escapes: false };
        let wide = draw(&text(), style, 200, 200).unwrap();
        let side = wide[0].chars().count();
        // Less of it where there is less room, in either direction; the code still reads.
        for (columns, rows, expected) in [
            (side, 200, side),
            (side - 1, 200, side - 2),
            (side - 6, 200, side - 6),
            (side, wide.len() - 1, side - 2),
            (side, 5, side),
        ] {
            let lines = draw(&text(), style, columns, rows).unwrap();
            assert_eq!(lines[0].chars().count(), expected, "{columns} columns, {rows} rows");
            assert_eq!(scan(&lines, style, true), text());
        }
        let why = draw(&text(), style, side - 7, 200).unwrap_err();
        assert_eq!(why, format!("the terminal has {} columns and the code needs {}", side - 7, side - 6));
        assert!(draw(&"x".repeat(3_000), style, 9_999, 9_999).unwrap_err().contains("too long"));
    }
}
