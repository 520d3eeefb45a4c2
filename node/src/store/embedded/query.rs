//! Questions to the database.

use redb::{ReadOnlyTable, ReadableDatabase};

use super::{EVENTS, Failure, LOGS, PUBLICATIONS, Shared, TOPICS};
use crate::{
    store::{Effort, Error, LogName, answer::Answer, record},
    wamp::{
        PublicationId,
        history::{Filter, Found},
    },
};

impl Shared {
    pub(super) fn query(&self, log: &LogName, filter: &Filter, effort: Effort) -> Result<Found, Error> {
        let ask = || -> Result<Found, Failure> {
            let transaction = self.database.begin_read()?;
            let number = transaction
                .open_table(LOGS)?
                .get(&*log.to_string())?
                .map(|number| number.value());
            let Some(number) = number else {
                return match named_publication(filter) {
                    Some(publication) => Err(Error::UnknownPublication(publication).into()),
                    None => Ok(Found::default()),
                };
            };
            let publications = transaction.open_table(PUBLICATIONS)?;
            let events = transaction.open_table(EVENTS)?;
            let Some((low, high)) = ends(&publications, number, filter)? else {
                return Ok(Found::default());
            };
            let mut answer = Answer::new(filter, effort);
            match &filter.topic {
                Some(topic) if log.is_pattern() => {
                    let topics = transaction.open_table(TOPICS)?;
                    let range = topics.range((number, &**topic, low.0, low.1)..=(number, &**topic, high.0, high.1))?;
                    for entry in in_order(range, filter.reverse) {
                        let (key, _) = entry?;
                        let (_, _, time, publication) = key.value();
                        let key = (number, time, publication);
                        let Some(value) = events.get(key)? else { continue };
                        if !take(&mut answer, key, value.value())? {
                            break;
                        }
                    }
                }
                Some(topic) if *topic != log.uri => {}
                _ => {
                    let range = events.range((number, low.0, low.1)..=(number, high.0, high.1))?;
                    for entry in in_order(range, filter.reverse) {
                        let (key, value) = entry?;
                        if !take(&mut answer, key.value(), value.value())? {
                            break;
                        }
                    }
                }
            }
            Ok(answer.found)
        };
        ask().map_err(Failure::or("asking the store"))
    }
}

/// Any publication that the filter names.
fn named_publication(filter: &Filter) -> Option<PublicationId> {
    filter
        .from_publication
        .or(filter.after_publication)
        .or(filter.before_publication)
        .or(filter.until_publication)
}

type Place = (u64, u64);

/// The first and the last place that the filter allows, both included; `None` if there is none between.
fn ends(publications: &ReadOnlyTable<(u32, u64), u64>, log: u32, filter: &Filter) -> Result<Option<(Place, Place)>, Failure> {
    let place = |publication: PublicationId| -> Result<Place, Failure> {
        match publications.get((log, publication.get()))? {
            Some(time) => Ok((time.value(), publication.get())),
            None => Err(Error::UnknownPublication(publication).into()),
        }
    };
    let mut low = (*filter.times.start(), 0);
    let mut high = (*filter.times.end(), u64::MAX);
    if let Some(publication) = filter.from_publication {
        low = low.max(place(publication)?);
    }
    if let Some(publication) = filter.after_publication {
        let (time, publication) = place(publication)?;
        low = low.max((time, publication + 1));
    }
    if let Some(publication) = filter.until_publication {
        high = high.min(place(publication)?);
    }
    if let Some(publication) = filter.before_publication {
        let (time, publication) = place(publication)?;
        high = high.min((time, publication - 1));
    }
    Ok((low <= high && !filter.times.is_empty()).then_some((low, high)))
}

fn in_order<'a, I: DoubleEndedIterator + 'a>(range: I, reverse: bool) -> Box<dyn Iterator<Item = I::Item> + 'a> {
    if reverse { Box::new(range.rev()) } else { Box::new(range) }
}

/// Adds the event of a key and value of [`EVENTS`]; false if no more is needed.
fn take(answer: &mut Answer<'_>, key: (u32, u64, u64), value: &[u8]) -> Result<bool, Failure> {
    if answer.is_full() {
        return Ok(false);
    }
    let (_, time, publication) = key;
    let (_, record) = split_size(value)?;
    let event = record::read(record::stamp(time, publication)?, record)?;
    Ok(answer.add(event))
}

/// The size of an event and its record.
pub(super) fn split_size(value: &[u8]) -> Result<(u64, &[u8]), Error> {
    let (size, record) = value.split_first_chunk::<8>().ok_or(Error::Damaged("its end is missing"))?;
    Ok((u64::from_be_bytes(*size), record))
}
