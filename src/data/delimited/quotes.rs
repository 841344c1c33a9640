//! Records whose fields may stand in double quotes, as RFC 4180 has it: a quote opens at a field's start only, two of
//! them within quotes are one, and what follows the closing one belongs to the field as it stands.

use memchr::{memchr, memchr3};

use super::is_line_end;

const QUOTE: u8 = b'"';

/// Where the last whole record ends; line ends within quotes end none.
pub(super) fn last_end(bytes: &[u8], delimiter: u8) -> Option<usize> {
    let (mut at, mut last) = (0, None);
    while let Some(next) = memchr3(QUOTE, b'\n', b'\r', &bytes[at..]) {
        let found = at + next;
        at = found + 1;
        if bytes[found] != QUOTE {
            last = Some(at);
        } else if found == 0 || bytes[found - 1] == delimiter || is_line_end(bytes[found - 1]) {
            at = quoted(bytes, at, |_| ());
        }
    }
    last
}

/// Appends the content of the field that starts here, and says where it ends.
pub(super) fn field(bytes: &[u8], mut at: usize, delimiter: u8, text: &mut Vec<u8>) -> usize {
    if bytes.get(at) == Some(&QUOTE) {
        at = quoted(bytes, at + 1, |piece| text.extend_from_slice(piece));
    }
    let end = memchr3(delimiter, b'\n', b'\r', &bytes[at..]).map_or(bytes.len(), |length| at + length);
    text.extend_from_slice(&bytes[at..end]);
    end
}

/// Hands over what stands within quotes, from after the opening one, and says where the closing one is passed.
fn quoted(bytes: &[u8], mut at: usize, mut piece: impl FnMut(&[u8])) -> usize {
    while let Some(length) = memchr(QUOTE, &bytes[at..]) {
        let after = at + length + 1;
        if bytes.get(after) != Some(&QUOTE) {
            piece(&bytes[at..after - 1]);
            return after;
        }
        piece(&bytes[at..after]);
        at = after + 1;
    }
    // never closed
    piece(&bytes[at..]);
    bytes.len()
}
