//! Where a page ended, as text a caller gives back: the time and the id of its last row.

use baton_messages::Timestamp;
use uuid::Uuid;

use super::problem::Problem;

/// `<ms>.<uuid>` or `<ms>.<uuid>.<number>`.
pub(crate) fn write(at: Timestamp, id: Uuid, number: Option<u32>) -> String {
    let number = number.map_or_else(String::new, |n| format!(".{n}"));
    format!("{at}.{}{number}", id.simple())
}

/// Reads what [`write()`] wrote.
///
/// # Errors
/// A problem for the caller.
pub(crate) fn read(text: &str) -> Result<(Timestamp, Uuid, Option<u32>), Problem> {
    let refuse =
        || Problem::bad_request("`cursor` is none of ours; give back the `next` of the last page");
    let mut parts = text.split('.');
    let (Some(at), Some(id)) = (parts.next(), parts.next()) else {
        return Err(refuse());
    };
    let at = at.parse().map_err(|_| refuse())?;
    let id = Uuid::parse_str(id).map_err(|_| refuse())?;
    let number = match parts.next() {
        Some(number) => Some(number.parse().map_err(|_| refuse())?),
        None => None,
    };
    Ok((Timestamp(at), id, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let id = Uuid::from_u128(7);
        let text = write(Timestamp(5), id, Some(3));
        assert_eq!(read(&text).unwrap(), (Timestamp(5), id, Some(3)));
        let text = write(Timestamp(5), id, None);
        assert_eq!(read(&text).unwrap(), (Timestamp(5), id, None));
        for wrong in [
            "",
            "5",
            "x.y",
            "5.zz",
            "5.00000000000000000000000000000007.x",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
