//! One frame: a length of four bytes, most significant first, then that many bytes.

use std::io::{self, Read, Write};

/// The longest frame that is taken: a status of many nodes and a long history stay far below it,
/// and a stranger cannot make the reader reserve more.
pub const LENGTH_MAX: usize = 4 << 20;

/// The bytes of a frame around `body`; none if it is too long.
pub fn wrap(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() > LENGTH_MAX {
        return None;
    }
    let mut out = Vec::with_capacity(body.len() + 4);
    out.extend_from_slice(&(body.len() as u32).to_be_bytes());
    out.extend_from_slice(body);
    Some(out)
}

/// Writes one frame.
pub fn write(to: &mut impl Write, body: &[u8]) -> io::Result<()> {
    let bytes =
        wrap(body).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "frame too long"))?;
    to.write_all(&bytes)?;
    to.flush()
}

/// Reads one frame.
pub fn read(from: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = [0; 4];
    from.read_exact(&mut head)?;
    let length = u32::from_be_bytes(head) as usize;
    if length > LENGTH_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "frame too long"));
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body)?;
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut pipe = Vec::new();
        write(&mut pipe, b"one").unwrap();
        write(&mut pipe, b"").unwrap();
        let mut from = pipe.as_slice();
        assert_eq!((read(&mut from).unwrap(), read(&mut from).unwrap()), (b"one".to_vec(), vec![]));
    }

    #[test]
    fn a_length_out_of_bounds_is_refused_before_anything_is_reserved() {
        let error = read(&mut [0xff, 0xff, 0xff, 0xff].as_slice()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
