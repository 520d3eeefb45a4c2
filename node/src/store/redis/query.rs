//! Questions to the server.

use std::collections::HashMap;

use ::redis::Cmd;

use super::{Redis, failed};
use crate::{
    store::{Effort, Error, LogName, answer::Answer, record},
    wamp::{
        PublicationId,
        history::{Filter, Found, KeptEvent},
    },
};

/// The id of a stream's entry: microseconds and the number within them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Id(u64, u64);

impl Id {
    fn parse(text: &str) -> Result<Self, Error> {
        let parts = text
            .split_once('-')
            .and_then(|(time, n)| Some((time.parse().ok()?, n.parse().ok()?)));
        parts
            .map(|(time, n)| Self(time, n))
            .ok_or(Error::Damaged("the id of an event"))
    }

    /// The next one; the last one is followed by itself.
    fn next(self) -> Self {
        let next = self.1.checked_add(1).map(|n| Self(self.0, n));
        next.or(self.0.checked_add(1).map(|time| Self(time, 0))).unwrap_or(self)
    }

    /// The one before; `None` before the first.
    fn before(self) -> Option<Self> {
        let before = self.1.checked_sub(1).map(|n| Self(self.0, n));
        before.or(self.0.checked_sub(1).map(|time| Self(time, u64::MAX)))
    }

    fn text(self) -> String {
        format!("{}-{}", self.0, self.1)
    }

    /// The text by which ids of a topic are in order.
    fn in_order(self) -> String {
        format!("{:020}-{:020}", self.0, self.1)
    }
}

/// How many events are asked for at a time, unless fewer are wanted.
const CHUNK: usize = 512;

type Entries = Vec<(String, HashMap<String, Vec<u8>>)>;

impl Redis {
    pub(super) async fn ask(&self, log: &LogName, filter: &Filter, effort: Effort) -> Result<Found, Error> {
        let key = self.key(log);
        let mut answer = Answer::new(filter, effort);
        let Some((mut low, mut high)) = self.ends(&key, filter).await? else {
            return Ok(answer.found);
        };
        let of_topic = match &filter.topic {
            Some(topic) if log.is_pattern() => Some(format!("{key}:topic:{topic}")),
            Some(topic) if *topic != log.uri => return Ok(answer.found),
            _ => None,
        };
        loop {
            // One more than wanted shows whether there is more.
            let count = filter
                .limit
                .saturating_sub(answer.found.events.len())
                .saturating_add(1)
                .min(CHUNK);
            let (entries, last) = match &of_topic {
                None => self.range(&format!("{key}:events"), low, high, filter.reverse, count).await?,
                Some(topic) => self.range_of_topic(&key, topic, low, high, filter.reverse, count).await?,
            };
            for (id, fields) in entries {
                if answer.is_full() || !answer.add(event(&id, &fields)?) {
                    return Ok(answer.found);
                }
            }
            let Some(last) = last else { return Ok(answer.found) };
            match filter.reverse {
                false => low = last.next(),
                true => match last.before() {
                    Some(before) => high = before,
                    None => return Ok(answer.found),
                },
            }
            if low > high {
                return Ok(answer.found);
            }
        }
    }

    /// The first and the last id that the filter allows, both included; `None` if there is none between.
    async fn ends(&self, key: &str, filter: &Filter) -> Result<Option<(Id, Id)>, Error> {
        let named = [
            filter.from_publication,
            filter.after_publication,
            filter.before_publication,
            filter.until_publication,
        ];
        let mut places = [None; 4];
        for (place, publication) in places.iter_mut().zip(named) {
            if let Some(publication) = publication {
                *place = Some(self.place(key, publication).await?);
            }
        }
        let [from, after, before, until] = places;
        let mut low = Id(*filter.times.start(), 0);
        let mut high = Id(*filter.times.end(), u64::MAX);
        low = [from, after.map(Id::next)].into_iter().flatten().fold(low, Id::max);
        if let Some(before) = before {
            let Some(before) = before.before() else { return Ok(None) };
            high = high.min(before);
        }
        high = until.into_iter().fold(high, Id::min);
        Ok((low <= high && !filter.times.is_empty()).then_some((low, high)))
    }

    async fn place(&self, key: &str, publication: PublicationId) -> Result<Id, Error> {
        let mut command = ::redis::cmd("HGET");
        command.arg(format!("{key}:publications")).arg(publication.get());
        let place: Option<String> = self.run(&command).await?;
        Id::parse(&place.ok_or(Error::UnknownPublication(publication))?)
    }

    /// The next entries of a history, and the last id looked at; `None` if there are no more.
    async fn range(&self, stream: &str, low: Id, high: Id, reverse: bool, count: usize) -> Result<(Entries, Option<Id>), Error> {
        let (low, high) = (low.text(), high.text());
        let mut command = match reverse {
            false => ::redis::cmd("XRANGE"),
            true => ::redis::cmd("XREVRANGE"),
        };
        match reverse {
            false => command.arg(stream).arg(low).arg(high),
            true => command.arg(stream).arg(high).arg(low),
        };
        command.arg("COUNT").arg(count);
        let entries: Entries = self.run(&command).await?;
        let last = match entries.last() {
            Some((id, _)) if entries.len() == count => Some(Id::parse(id)?),
            _ => None,
        };
        Ok((entries, last))
    }

    /// The same for one topic within the history of a pattern.
    async fn range_of_topic(
        &self,
        key: &str,
        topic: &str,
        low: Id,
        high: Id,
        reverse: bool,
        count: usize,
    ) -> Result<(Entries, Option<Id>), Error> {
        let (low, high) = (format!("[{}", low.in_order()), format!("[{}", high.in_order()));
        let mut command = match reverse {
            false => ::redis::cmd("ZRANGEBYLEX"),
            true => ::redis::cmd("ZREVRANGEBYLEX"),
        };
        match reverse {
            false => command.arg(topic).arg(low).arg(high),
            true => command.arg(topic).arg(high).arg(low),
        };
        command.arg("LIMIT").arg(0).arg(count);
        let ids: Vec<String> = self.run(&command).await?;
        let ids: Vec<Id> = ids.iter().map(|id| Id::parse(id)).collect::<Result<_, _>>()?;
        let Some(last) = ids.last().copied() else {
            return Ok((Vec::new(), None));
        };
        let mut pipeline = ::redis::pipe();
        for id in &ids {
            pipeline
                .cmd("XRANGE")
                .arg(format!("{key}:events"))
                .arg(id.text())
                .arg(id.text());
        }
        let entries: Vec<Entries> = pipeline
            .query_async(&mut self.connection.clone())
            .await
            .map_err(|error| failed(&error))?;
        // An event that was trimmed in between is not found.
        Ok((entries.into_iter().flatten().collect(), (ids.len() == count).then_some(last)))
    }

    async fn run<T: ::redis::FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let answer = command.query_async(&mut self.connection.clone()).await;
        answer.map_err(|error| failed(&error))
    }
}

fn event(id: &str, fields: &HashMap<String, Vec<u8>>) -> Result<KeptEvent, Error> {
    let publication = fields
        .get("publication")
        .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    let publication = publication.ok_or(Error::Damaged("a publication id"))?;
    let stamp = record::stamp(Id::parse(id)?.0, publication)?;
    record::read(stamp, fields.get("record").ok_or(Error::Damaged("an event without record"))?)
}
