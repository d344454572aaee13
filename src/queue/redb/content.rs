//! Content chunks in the file: each with its checksum in front, cut so that it wastes little of its pages.
//!
//! redb gives a value larger than a page a run of pages whose length is a power of two: a 4,200 byte message alone
//! would take 8,192 bytes. So a chunk is cut into parts that fill runs exactly, and the rest goes
//! to a table of small values, which share pages. A full chunk is a single part.

use super::super::CHUNK_SIZE;
use super::layout::{PARTS, REMAINDERS};
use super::tables::Tables;
use super::usage::{FileUsage, PAGE, PART_OVERHEAD as OVERHEAD};
use bytes::{Bytes, BytesMut};
use redb::{ReadTransaction, ReadableTable};
use xxhash_rust::xxh3::xxh3_64;

/// Bytes in front of every chunk.
const CHECKSUM: usize = 8;
/// Parts of one chunk have keys `number * PARTS_A_CHUNK ..`. Halving 128 KiB down to a page takes six.
const PARTS_A_CHUNK: u32 = 8;

/// How many of `left` bytes the next part takes; none when they belong to the remainder.
fn next_part(left: usize) -> Option<usize> {
    let fit = |order: u32| (PAGE << order) - OVERHEAD;
    let order = (0..6).rev().find(|order| left >= fit(*order) / 8 * 7)?;
    Some(left.min(fit(order)))
}

/// What a chunk of that many bytes will add to what is in use of the file.
pub(super) fn usage(bytes: usize) -> FileUsage {
    let mut usage = FileUsage::default();
    let mut left = CHECKSUM + bytes;
    while let Some(length) = next_part(left) {
        usage.add_part(length);
        left -= length;
    }
    if left > 0 {
        usage.add_remainder(left);
    }
    usage
}

/// Stores a chunk. The caller writes the id to a table: the messages or the orphans.
pub(super) fn write(tables: &mut Tables<'_>, id: u128, number: u32, chunk: &[u8]) -> Result<(), redb::Error> {
    let checksum = xxh3_64(chunk).to_le_bytes();
    let mut head: &[u8] = &checksum;
    let mut rest = chunk;
    let mut fill = |mut out: &mut [u8]| {
        for source in [&mut head, &mut rest] {
            let (now, later) = source.split_at(source.len().min(out.len()));
            let (filled, empty) = out.split_at_mut(now.len());
            filled.copy_from_slice(now);
            (*source, out) = (later, empty);
        }
    };
    let mut left = CHECKSUM + chunk.len();
    let mut key = number * PARTS_A_CHUNK;
    while let Some(length) = next_part(left) {
        fill(tables.parts.insert_reserve((id, key), length)?.as_mut());
        tables.usage.add_part(length);
        left -= length;
        key += 1;
    }
    if left > 0 {
        fill(tables.remainders.insert_reserve((id, number), left)?.as_mut());
        tables.usage.add_remainder(left);
    }
    Ok(())
}

/// A chunk read back: none if nothing of it is there, what is wrong if it does not match its checksum.
pub(super) fn read(
    snapshot: &ReadTransaction,
    id: u128,
    number: u32,
) -> Result<Option<Result<Bytes, String>>, redb::Error> {
    let parts = snapshot.open_table(PARTS)?;
    let mut whole = BytesMut::new();
    for key in (number * PARTS_A_CHUNK..).take(PARTS_A_CHUNK as usize) {
        let Some(part) = parts.get((id, key))? else { break };
        whole.extend_from_slice(part.value());
        if whole.len() >= CHECKSUM + CHUNK_SIZE {
            break;
        }
    }
    if whole.len() < CHECKSUM + CHUNK_SIZE
        && let Some(remainder) = snapshot.open_table(REMAINDERS)?.get((id, number))?
    {
        whole.extend_from_slice(remainder.value());
    }
    if whole.is_empty() {
        return Ok(None);
    }
    if whole.len() < CHECKSUM {
        return Ok(Some(Err(format!("content chunk {number} is cut short"))));
    }
    let checksum = whole.split_to(CHECKSUM);
    if checksum[..] != xxh3_64(&whole).to_le_bytes() {
        return Ok(Some(Err(format!("content chunk {number} does not match its checksum"))));
    }
    Ok(Some(Ok(whole.freeze())))
}

/// Removes the first `chunks` chunks.
pub(super) fn remove(tables: &mut Tables<'_>, id: u128, chunks: u32) -> Result<(), redb::Error> {
    for number in 0..chunks {
        for key in (number * PARTS_A_CHUNK..).take(PARTS_A_CHUNK as usize) {
            if !remove_part(tables, (id, key))? {
                break;
            }
        }
        remove_remainder(tables, (id, number))?;
    }
    Ok(())
}

/// Removes all content of an id whose number of chunks is not known.
pub(super) fn remove_all(tables: &mut Tables<'_>, id: u128) -> Result<(), redb::Error> {
    let all = (id, 0)..=(id, u32::MAX);
    // Keys first: the table cannot be changed while it is walked.
    for key in keys(tables.parts.range(all.clone())?)? {
        remove_part(tables, key)?;
    }
    for key in keys(tables.remainders.range(all)?)? {
        remove_remainder(tables, key)?;
    }
    Ok(())
}

fn keys(range: redb::Range<'_, (u128, u32), &'static [u8]>) -> Result<Vec<(u128, u32)>, redb::StorageError> {
    range.map(|entry| Ok(entry?.0.value())).collect()
}

fn remove_part(tables: &mut Tables<'_>, key: (u128, u32)) -> Result<bool, redb::Error> {
    let bytes = tables.parts.remove(key)?.map(|part| part.value().len());
    bytes.into_iter().for_each(|bytes| tables.usage.subtract_part(bytes));
    Ok(bytes.is_some())
}

fn remove_remainder(tables: &mut Tables<'_>, key: (u128, u32)) -> Result<(), redb::Error> {
    let bytes = tables.remainders.remove(key)?.map(|remainder| remainder.value().len());
    bytes.into_iter().for_each(|bytes| tables.usage.subtract_remainder(bytes));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_every_length_and_waste_at_most_an_eighth_of_their_pages() {
        for length in (0..CHECKSUM + CHUNK_SIZE).step_by(61).chain([CHECKSUM + CHUNK_SIZE]) {
            let (mut left, mut parts) = (length, 0);
            while let Some(part) = next_part(left) {
                let run = (part + OVERHEAD).next_power_of_two();
                assert!(part <= left && part + OVERHEAD > run / 8 * 7 - 64, "{length}: part of {part}");
                left -= part;
                parts += 1;
            }
            assert!(parts < PARTS_A_CHUNK && left < PAGE, "{length}: {parts} parts, {left} left");
        }
        assert_eq!(next_part(CHECKSUM + CHUNK_SIZE), Some(CHECKSUM + CHUNK_SIZE));
    }
}
