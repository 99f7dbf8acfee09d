//! What stands at Harbour North: the same doors, containers and badges as in the site model of
//! `config/harbour-north/model`.

/// Length of the night, in milliseconds.
pub const LENGTH_MS: i64 = 600_000;

/// A badge door: reader, contact and lock are one controller of the door's name.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    /// Its name, and its controller's.
    pub name: &'static str,
    /// The area its events belong to.
    pub area: &'static str,
    /// Whether a camera counts who comes in.
    pub counted: bool,
}

const fn door(name: &'static str, area: &'static str, counted: bool) -> Door {
    Door { name, area, counted }
}

/// Doors of the ordinary traffic.
pub const DOORS: [Door; 10] = [
    door("office-main", "office", false),
    door("office-control-room", "control-room", true),
    door("warehouse-east", "warehouse", true),
    door("warehouse-west", "warehouse", false),
    door("warehouse-dock-1", "warehouse", false),
    door("warehouse-dock-2", "warehouse", false),
    door("warehouse-dock-3", "warehouse", false),
    door("workshop", "workshop", false),
    door("gatehouse", "gatehouse", false),
    door("canteen", "canteen", false),
];

/// The door that the night is about. It opens to the yard, so its events belong there.
pub const BONDED_STORE: Door = door("bonded-store", "yard-north", false);

/// The dock that is loaded, its door unlocked meanwhile.
pub const LOADING_DOCK: Door = door("warehouse-dock-4", "warehouse", false);

/// When doors belong to an incident, in milliseconds: ordinary traffic leaves them alone.
pub const RESERVED: [(&str, i64, i64); 6] = [
    ("warehouse-dock-2", 0, 55_000),
    ("office-main", 0, 12_000),
    ("office-control-room", 225_000, 275_000),
    ("workshop", 55_000, 80_000),
    ("workshop", 140_000, 165_000),
    ("workshop", 300_000, 335_000),
];

/// People on shift: P-0020 … P-0079, by turns at home behind one of [`DOORS`].
pub const PEOPLE: std::ops::Range<u64> = 20..80;

/// Plates of the carriers' trucks.
pub const PLATES: [&str; 12] = [
    "EK 38412", "DN 90217", "BT 55120", "EV 71803", "SU 20446", "PR 63377", "DP 11873", "AX 70554",
    "VF 28190", "RJ 44021", "NF 83316", "BS 60972",
];

/// Containers on the books.
pub const CONTAINERS: u64 = 48;

/// The container that leaves with a forged seal, by its number in the books.
pub const STOLEN: u64 = 17;

const OWNERS: [&str; 8] = ["MSKU", "CSQU", "MWCU", "CBHU", "TGHU", "HLXU", "TEMU", "OOLU"];

/// The container with this number in the books: owner, serial and check digit of ISO 6346.
pub fn container(number: u64) -> String {
    // A remainder of 10 counts as 0 and is ambiguous: ISO 6346 advises against such serials.
    let owner = OWNERS[number as usize % OWNERS.len()];
    let mut serial = 200_000 + number * 7_919;
    loop {
        let body = format!("{owner}{serial:06}");
        match check_digit(&body) {
            Some(digit) if digit < 10 => return format!("{body}{digit}"),
            _ => serial += 1,
        }
    }
}

/// The seal that a container was given when it was loaded: ISO 17712, class H.
pub fn seal(number: u64) -> String {
    format!("NH{:06}", 771_201 + 37 * number)
}

/// Remainder modulo 11 by ISO 6346, from owner code and serial; 10 is written as 0.
fn check_digit(body: &str) -> Option<u32> {
    let mut sum = 0;
    for (place, character) in body.chars().enumerate() {
        let value = match character.to_digit(36)? {
            digit @ 0..=9 => digit,
            // A = 10, and so on, without the multiples of 11.
            letter => letter + (letter - 1) / 10,
        };
        sum += value << place;
    }
    Some(sum % 11)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_are_those_of_the_standard() {
        for known in ["CSQU3054383", "MWCU6059784", "CBHU3202732"] {
            let (body, digit) = known.split_at(10);
            assert_eq!(check_digit(body).map(|d| (d % 10).to_string()).as_deref(), Some(digit));
        }
        assert_eq!(check_digit("CSQU000007"), Some(10));
    }
}
