//! The drawing of the rooms in ARCHITECTURE.md: a block whose fence says `floorplan`.

use std::collections::BTreeMap;

/// The order of the rooms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drawing {
    /// The floor of each room; the ground floor is 0.
    pub floors: BTreeMap<String, usize>,
    /// Rooms in brackets, which need not exist yet.
    pub planned: Vec<String>,
}

impl Drawing {
    /// Reads the drawing. One floor is one line, the top floor first: names of rooms with `·`
    /// between them, and after two spaces or more a remark.
    ///
    /// # Errors
    ///
    /// Fails with a sentence for people if there is no drawing, or if a room is in it twice.
    pub fn read(architecture: &str) -> Result<Drawing, String> {
        let mut lines = architecture
            .lines()
            .skip_while(|line| line.trim() != "```floorplan")
            .skip(1)
            .take_while(|line| line.trim() != "```")
            .filter(|line| !line.trim().is_empty())
            .collect::<Vec<_>>();
        if lines.is_empty() {
            return Err("ARCHITECTURE.md has no block that starts with ```floorplan".to_string());
        }
        lines.reverse();
        let mut drawing = Drawing::default();
        for (floor, line) in lines.iter().enumerate() {
            let rooms = line.trim().split("  ").next().unwrap_or_default();
            for room in rooms.split('·').map(str::trim) {
                let name = room.trim_matches(['[', ']']).to_string();
                if name != room {
                    drawing.planned.push(name.clone());
                }
                if drawing.floors.insert(name.clone(), floor).is_some() {
                    return Err(format!("ARCHITECTURE.md draws the room {name} twice"));
                }
            }
        }
        Ok(drawing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_line_is_the_ground_floor() {
        let text = "# A\n```\nno · drawing\n```\n```floorplan\ntop            a remark\nleft · [right]\nground\n```\n";
        let drawing = Drawing::read(text).unwrap();
        let floors: Vec<(&str, usize)> = drawing
            .floors
            .iter()
            .map(|(name, floor)| (name.as_str(), *floor))
            .collect();
        assert_eq!(
            floors,
            [("ground", 0), ("left", 1), ("right", 1), ("top", 2)]
        );
        assert_eq!(drawing.planned, ["right"]);
    }

    #[test]
    fn a_room_has_one_floor() {
        assert!(Drawing::read("```floorplan\na\na · b\n```").is_err());
        assert!(Drawing::read("nothing").is_err());
    }
}
