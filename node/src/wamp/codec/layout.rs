//! Messages as lists: which field stands where. The only place that knows, for reading and for writing.
//!
//! Spec: WAMP basic profile, "Messages". A message's code and number of elements fix its shape; every field has one type.

use std::borrow::Cow;

use super::{
    DecodeError, EncodeError, Frame, Limits, TranscodeError, options, pump_payload,
    stream::{Keys, Kind, Reader, Shape, Writer, pump},
    tree::{self, Tree},
};
use crate::wamp::{
    Dict, Message, Payload, PublicationId, RegistrationId, RequestId, Serializer, SessionId, SubscriptionId, Uri, Value,
    message::{code, name},
};

/// Reads the message that `reader` stands before and that ends with the frame.
pub(crate) fn read<'a, R: Reader<'a>>(
    reader: &mut R,
    frame: &Frame<'_>,
    serializer: Serializer,
    limits: &Limits,
) -> Result<Message, DecodeError> {
    reader.open()?;
    if !reader.next()? {
        return Err(DecodeError::NoCode);
    }
    let code = reader.unsigned()?.ok_or(DecodeError::NoCode)?;
    let message = name(code).ok_or(DecodeError::UnknownCode { code })?;
    let mut fields = Fields {
        reader,
        frame,
        serializer,
        limits,
        message,
        code,
        ended: false,
        transparent: false,
    };
    let message = fields.message(code)?;
    fields.end()?;
    Ok(message)
}

/// The fields of one message, taken in order.
struct Fields<'r, 'f, R> {
    reader: &'r mut R,
    frame: &'r Frame<'f>,
    serializer: Serializer,
    limits: &'r Limits,
    message: &'static str,
    code: u64,
    /// The list has ended.
    ended: bool,
    /// One text or binary may stand in place of `args`.
    transparent: bool,
}

impl<'a, R: Reader<'a>> Fields<'_, '_, R> {
    fn message(&mut self, code: u64) -> Result<Message, DecodeError> {
        // The fields of a struct expression are evaluated in the order in which they are written, which is that of the wire.
        Ok(match code {
            code::HELLO => Message::Hello {
                realm: self.uri("realm")?,
                details: self.dict("details")?,
            },
            code::WELCOME => Message::Welcome {
                session: self.id("session", SessionId::new)?,
                details: self.dict("details")?,
            },
            code::ABORT => Message::Abort {
                details: self.dict("details")?,
                reason: self.uri("reason")?,
                payload: self.payload()?,
            },
            code::CHALLENGE => Message::Challenge {
                method: self.text("authmethod")?.into_owned(),
                extra: self.dict("extra")?,
            },
            code::AUTHENTICATE => Message::Authenticate {
                signature: self.text("signature")?.into_owned(),
                extra: self.dict("extra")?,
            },
            code::GOODBYE => Message::Goodbye {
                details: self.dict("details")?,
                reason: self.uri("reason")?,
            },
            code::ERROR => Message::Error {
                request_type: self.request_type()?,
                request: self.request()?,
                details: self.dict("details")?,
                error: self.uri("error")?,
                payload: self.payload()?,
            },
            code::PUBLISH => Message::Publish {
                request: self.request()?,
                options: self.dict("options")?,
                topic: self.uri("topic")?,
                payload: self.payload()?,
            },
            code::PUBLISHED => Message::Published {
                request: self.request()?,
                publication: self.publication()?,
            },
            code::SUBSCRIBE => Message::Subscribe {
                request: self.request()?,
                options: self.dict("options")?,
                topic: self.uri("topic")?,
            },
            code::SUBSCRIBED => Message::Subscribed {
                request: self.request()?,
                subscription: self.subscription()?,
            },
            code::UNSUBSCRIBE => Message::Unsubscribe {
                request: self.request()?,
                subscription: self.subscription()?,
            },
            code::UNSUBSCRIBED => {
                let (request, details) = self.ended()?;
                Message::Unsubscribed { request, details }
            }
            code::EVENT => Message::Event {
                subscription: self.subscription()?,
                publication: self.publication()?,
                details: self.dict("details")?,
                payload: self.payload()?,
            },
            code::CALL => Message::Call {
                request: self.request()?,
                options: self.dict("options")?,
                procedure: self.uri("procedure")?,
                payload: self.payload()?,
            },
            code::CANCEL => Message::Cancel {
                request: self.request()?,
                options: self.dict("options")?,
            },
            code::RESULT => Message::Result {
                request: self.request()?,
                details: self.dict("details")?,
                payload: self.payload()?,
            },
            code::REGISTER => Message::Register {
                request: self.request()?,
                options: self.dict("options")?,
                procedure: self.uri("procedure")?,
            },
            code::REGISTERED => Message::Registered {
                request: self.request()?,
                registration: self.registration()?,
            },
            code::UNREGISTER => Message::Unregister {
                request: self.request()?,
                registration: self.registration()?,
            },
            code::UNREGISTERED => {
                let (request, details) = self.ended()?;
                Message::Unregistered { request, details }
            }
            code::INVOCATION => Message::Invocation {
                request: self.request()?,
                registration: self.registration()?,
                details: self.dict("details")?,
                payload: self.payload()?,
            },
            code::INTERRUPT => Message::Interrupt {
                request: self.request()?,
                options: self.dict("options")?,
            },
            code::YIELD => Message::Yield {
                request: self.request()?,
                options: self.dict("options")?,
                payload: self.payload()?,
            },
            code::EVENT_RECEIVED => Message::EventReceived {
                publication: self.publication()?,
            },
            code => return Err(DecodeError::UnknownCode { code }),
        })
    }

    /// Goes to the next element, if there is one.
    fn more(&mut self) -> Result<bool, DecodeError> {
        self.ended = self.ended || !self.reader.next()?;
        Ok(!self.ended)
    }

    /// Goes to the next element, which must be there.
    fn need(&mut self, field: &'static str) -> Result<(), DecodeError> {
        if self.more()? {
            Ok(())
        } else {
            Err(DecodeError::Missing {
                message: self.message,
                field,
            })
        }
    }

    fn mistyped<T>(&self, field: &'static str, expected: &'static str, at: usize) -> Result<T, DecodeError> {
        Err(DecodeError::Type {
            message: self.message,
            field,
            expected,
            at,
        })
    }

    fn integer(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.need(field)?;
        let at = self.reader.offset();
        match self.reader.unsigned()? {
            Some(value) => Ok(value),
            None => self.mistyped(field, "an integer", at),
        }
    }

    fn id<T>(&mut self, field: &'static str, id: impl Fn(u64) -> Option<T>) -> Result<T, DecodeError> {
        let value = self.integer(field)?;
        id(value).ok_or(DecodeError::Range {
            message: self.message,
            field,
            at: self.reader.offset(),
        })
    }

    fn request(&mut self) -> Result<RequestId, DecodeError> {
        self.id("request", RequestId::new)
    }

    fn registration(&mut self) -> Result<RegistrationId, DecodeError> {
        self.id("registration", RegistrationId::new)
    }

    fn subscription(&mut self) -> Result<SubscriptionId, DecodeError> {
        self.id("subscription", SubscriptionId::new)
    }

    fn publication(&mut self) -> Result<PublicationId, DecodeError> {
        self.id("publication", PublicationId::new)
    }

    /// The code of a message that an ERROR can answer. Which of them are legal depends on the direction.
    fn request_type(&mut self) -> Result<u64, DecodeError> {
        use code::{CALL, INVOCATION, PUBLISH, REGISTER, SUBSCRIBE, UNREGISTER, UNSUBSCRIBE};
        self.id("request type", |code| {
            matches!(
                code,
                SUBSCRIBE | UNSUBSCRIBE | PUBLISH | REGISTER | UNREGISTER | INVOCATION | CALL
            )
            .then_some(code)
        })
    }

    /// `request` of an UNSUBSCRIBED or UNREGISTERED, and the details, which must follow a request of 0.
    fn ended(&mut self) -> Result<(Option<RequestId>, Dict), DecodeError> {
        let request = self.id(
            "request",
            |raw| if raw == 0 { Some(None) } else { RequestId::new(raw).map(Some) },
        )?;
        if request.is_some() && !self.more()? {
            return Ok((request, Dict::new()));
        }
        if request.is_none() {
            self.need("details")?;
        }
        Ok((request, self.dict_here("details")?))
    }

    fn text(&mut self, field: &'static str) -> Result<Cow<'a, str>, DecodeError> {
        self.need(field)?;
        match self.reader.kind()? {
            Kind::Text => self.reader.text(),
            _ => self.mistyped(field, "text", self.reader.offset()),
        }
    }

    fn uri(&mut self, field: &'static str) -> Result<Uri, DecodeError> {
        Ok(Uri::new(&*self.text(field)?))
    }

    fn dict(&mut self, field: &'static str) -> Result<Dict, DecodeError> {
        self.need(field)?;
        self.dict_here(field)
    }

    fn dict_here(&mut self, field: &'static str) -> Result<Dict, DecodeError> {
        if self.reader.empty_dict() {
            return Ok(Dict::new());
        }
        if self.reader.kind()? != Kind::Dict {
            return self.mistyped(field, "a dict", self.reader.offset());
        }
        let mut tree = Tree::strict(self.limits.dict_values_max);
        match pump(self.reader, &mut tree) {
            Ok(()) => {}
            Err(TranscodeError::Malformed(cause)) => return Err(cause),
            Err(TranscodeError::Value(cause)) => {
                return Err(DecodeError::Dict {
                    message: self.message,
                    field,
                    cause,
                });
            }
        }
        let Some(Value::Dict(dict)) = tree.into_values().pop() else {
            return self.mistyped(field, "a dict", self.reader.offset());
        };
        options::check(self.code, &dict).map_err(|wrong| DecodeError::Option {
            message: self.message,
            field,
            key: wrong.key,
            expected: wrong.expected,
        })?;
        self.transparent = self.limits.payload_transparency && dict.get("enc_algo").is_some();
        Ok(dict)
    }

    /// Proves the rest to be `[args [, kwargs]]` and carries it as bytes. Empty ones at the end are left out.
    fn payload(&mut self) -> Result<Payload, DecodeError> {
        if !self.more()? {
            return Ok(Payload::EMPTY);
        }
        let start = self.reader.offset();
        match self.reader.kind()? {
            Kind::List => {}
            Kind::Text | Kind::Binary if self.transparent => {
                self.reader.skip(Keys::Any)?;
                return Ok(self.proven(1, start, self.reader.offset()));
            }
            _ => return self.mistyped("args", "a list", start),
        }
        let items = self.reader.skip(Keys::Any)?;
        let args_end = self.reader.offset();
        if self.more()? {
            if self.reader.kind()? != Kind::Dict {
                return self.mistyped("kwargs", "a dict", self.reader.offset());
            }
            if self.reader.skip(Keys::Text)? > 0 {
                return Ok(self.proven(2, start, self.reader.offset()));
            }
        }
        if items > 0 {
            Ok(self.proven(1, start, args_end))
        } else {
            Ok(Payload::EMPTY)
        }
    }

    fn proven(&self, elements: u8, start: usize, end: usize) -> Payload {
        Payload::from_proven(self.serializer, elements, self.frame.part(start, end))
    }

    /// Proves that list and frame end here.
    fn end(&mut self) -> Result<(), DecodeError> {
        if self.more()? {
            return Err(DecodeError::TooMany {
                message: self.message,
                at: self.reader.offset(),
            });
        }
        self.reader.finish()
    }
}

/// Writes `message`; its payload is spliced if it comes in `serializer`, which is the one of `writer`.
pub(crate) fn write<W: Writer>(message: &Message, serializer: Serializer, writer: W) -> Result<(), EncodeError> {
    let mut list = List {
        writer,
        serializer,
        index: 0,
    };
    match message {
        Message::Hello { realm, details } => {
            list.open(code::HELLO, 2)?;
            list.text(realm)?;
            list.dict(details)?;
        }
        Message::Welcome { session, details } => {
            list.open(code::WELCOME, 2)?;
            list.integer(session.get())?;
            list.dict(details)?;
        }
        Message::Abort {
            details,
            reason,
            payload,
        } => {
            list.open(code::ABORT, 2 + payload.elements())?;
            list.dict(details)?;
            list.text(reason)?;
            list.payload(payload)?;
        }
        Message::Challenge { method: text, extra } => {
            list.open(code::CHALLENGE, 2)?;
            list.text(text)?;
            list.dict(extra)?;
        }
        Message::Authenticate { signature: text, extra } => {
            list.open(code::AUTHENTICATE, 2)?;
            list.text(text)?;
            list.dict(extra)?;
        }
        Message::Goodbye { details, reason } => {
            list.open(code::GOODBYE, 2)?;
            list.dict(details)?;
            list.text(reason)?;
        }
        Message::Error {
            request_type,
            request,
            details,
            error,
            payload,
        } => {
            list.open(code::ERROR, 4 + payload.elements())?;
            list.integer(*request_type)?;
            list.integer(request.get())?;
            list.dict(details)?;
            list.text(error)?;
            list.payload(payload)?;
        }
        Message::Publish {
            request,
            options,
            topic,
            payload,
        } => {
            list.request_to(code::PUBLISH, *request, options, topic, Some(payload))?;
        }
        Message::Published { request, publication } => list.pair(code::PUBLISHED, request.get(), publication.get())?,
        Message::Subscribe { request, options, topic } => list.request_to(code::SUBSCRIBE, *request, options, topic, None)?,
        Message::Subscribed { request, subscription } => list.pair(code::SUBSCRIBED, request.get(), subscription.get())?,
        Message::Unsubscribe { request, subscription } => list.pair(code::UNSUBSCRIBE, request.get(), subscription.get())?,
        Message::Unsubscribed { request, details } => list.ended(code::UNSUBSCRIBED, *request, details)?,
        Message::Event {
            subscription,
            publication,
            details,
            payload,
        } => {
            list.open(code::EVENT, 3 + payload.elements())?;
            list.integer(subscription.get())?;
            list.integer(publication.get())?;
            list.dict(details)?;
            list.payload(payload)?;
        }
        Message::Call {
            request,
            options,
            procedure,
            payload,
        } => {
            list.request_to(code::CALL, *request, options, procedure, Some(payload))?;
        }
        Message::Cancel { request, options } => list.answer(code::CANCEL, *request, options, &Payload::EMPTY)?,
        Message::Result {
            request,
            details,
            payload,
        } => list.answer(code::RESULT, *request, details, payload)?,
        Message::Register {
            request,
            options,
            procedure,
        } => {
            list.request_to(code::REGISTER, *request, options, procedure, None)?;
        }
        Message::Registered { request, registration } => list.pair(code::REGISTERED, request.get(), registration.get())?,
        Message::Unregister { request, registration } => list.pair(code::UNREGISTER, request.get(), registration.get())?,
        Message::Unregistered { request, details } => list.ended(code::UNREGISTERED, *request, details)?,
        Message::Invocation {
            request,
            registration,
            details,
            payload,
        } => {
            list.open(code::INVOCATION, 3 + payload.elements())?;
            list.integer(request.get())?;
            list.integer(registration.get())?;
            list.dict(details)?;
            list.payload(payload)?;
        }
        Message::Interrupt { request, options } => list.answer(code::INTERRUPT, *request, options, &Payload::EMPTY)?,
        Message::Yield {
            request,
            options,
            payload,
        } => list.answer(code::YIELD, *request, options, payload)?,
        Message::EventReceived { publication } => {
            list.open(code::EVENT_RECEIVED, 1)?;
            list.integer(publication.get())?;
        }
    }
    list.close()
}

/// A message under construction.
struct List<W> {
    writer: W,
    serializer: Serializer,
    index: usize,
}

impl<W: Writer> List<W> {
    /// Begins a message of a code and `fields` more elements.
    fn open(&mut self, code: u64, fields: u8) -> Result<(), EncodeError> {
        self.writer
            .begin(Shape::List, Some(1 + usize::from(fields)))
            .map_err(EncodeError::Head)?;
        self.integer(code)
    }

    fn item(&mut self) {
        self.writer.item(self.index);
        self.index += 1;
    }

    fn integer(&mut self, value: u64) -> Result<(), EncodeError> {
        self.item();
        self.writer.unsigned(value).map_err(EncodeError::Head)
    }

    fn text(&mut self, text: &str) -> Result<(), EncodeError> {
        self.item();
        self.writer.text(text).map_err(EncodeError::Head)
    }

    fn dict(&mut self, dict: &Dict) -> Result<(), EncodeError> {
        self.item();
        tree::write_dict(dict, &mut self.writer).map_err(EncodeError::Head)
    }

    fn payload(&mut self, payload: &Payload) -> Result<(), EncodeError> {
        if payload.is_empty() {
            return Ok(());
        }
        if payload.serializer() == self.serializer {
            self.writer.splice(self.index, payload.bytes());
            return Ok(());
        }
        pump_payload(payload, self.index, &mut self.writer).map_err(EncodeError::Payload)
    }

    /// `[code, id, id]`
    fn pair(&mut self, code: u64, first: u64, second: u64) -> Result<(), EncodeError> {
        self.open(code, 2)?;
        self.integer(first)?;
        self.integer(second)
    }

    /// `[code, request, options, uri]`, and a payload where the message has one.
    fn request_to(
        &mut self,
        code: u64,
        request: RequestId,
        options: &Dict,
        uri: &Uri,
        payload: Option<&Payload>,
    ) -> Result<(), EncodeError> {
        self.open(code, 3 + payload.map_or(0, Payload::elements))?;
        self.integer(request.get())?;
        self.dict(options)?;
        self.text(uri)?;
        payload.map_or(Ok(()), |payload| self.payload(payload))
    }

    /// `[code, request, options]` and a payload.
    fn answer(&mut self, code: u64, request: RequestId, options: &Dict, payload: &Payload) -> Result<(), EncodeError> {
        self.open(code, 2 + payload.elements())?;
        self.integer(request.get())?;
        self.dict(options)?;
        self.payload(payload)
    }

    /// `[code, request]`, `[code, request, details]` or `[code, 0, details]`.
    fn ended(&mut self, code: u64, request: Option<RequestId>, details: &Dict) -> Result<(), EncodeError> {
        let with_details = request.is_none() || !details.is_empty();
        self.open(code, 1 + u8::from(with_details))?;
        self.integer(request.map_or(0, RequestId::get))?;
        if with_details { self.dict(details) } else { Ok(()) }
    }

    fn close(mut self) -> Result<(), EncodeError> {
        self.writer
            .end(Shape::List, super::stream::Mark::WRITTEN, self.index)
            .map_err(EncodeError::Head)?;
        self.writer.finish();
        Ok(())
    }
}
