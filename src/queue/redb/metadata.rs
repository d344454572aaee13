//! Reads the metadata record of a file, or counts anew what it held.

use super::layout::{DAMAGED, MESSAGES, META, METADATA_KEY, STATES};
use super::stored::Metadata;
use super::{event_log, record};
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata};

/// The metadata as the file has it now; counted anew where its record is damaged.
pub(super) fn read_metadata(snapshot: &ReadTransaction) -> Result<Metadata, redb::Error> {
    let meta = snapshot.open_table(META)?;
    let read = meta.get(METADATA_KEY)?.map(|bytes| record::read_metadata(bytes.value()));
    match read {
        Some(Ok(metadata)) => Ok(metadata),
        broken => {
            tracing::error!(?broken, "the queue's metadata record is damaged: counting anew");
            count_anew(snapshot)
        }
    }
}

fn count_anew(snapshot: &ReadTransaction) -> Result<Metadata, redb::Error> {
    let mut metadata = Metadata { next_event: event_log::next_event(snapshot)?, ..Metadata::default() };
    for entry in snapshot.open_table(STATES)?.iter()? {
        metadata.counts.add(entry?.0.value().0);
    }
    for entry in snapshot.open_table(MESSAGES)?.iter()? {
        let (id, record) = entry?;
        if let Ok(stored) = record::read_message(id.value(), record.value()) {
            metadata.sites.insert(stored.message.site);
        }
    }
    metadata.counts.damaged = snapshot.open_table(DAMAGED)?.len()?;
    Ok(metadata)
}
