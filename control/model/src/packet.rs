//! What is on its way: frames as their bytes, so that equal ones are one, and what arrives is what the
//! wire carries.

use wire::codec::Writer;
use wire::{Beat, EchoBody, Life, Message, NodeId, Obituary, Seq};

/// A frame for one node.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Packet {
    /// Its authenticated sender.
    pub from: Life,
    /// Where it arrives.
    pub to: NodeId,
    /// Which sort, and its bytes.
    pub frame: Frame,
}

/// The sorts of frames.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Frame {
    /// For the control plane.
    Message(Vec<u8>),
    /// A beat with its number.
    Beat(Seq, Vec<u8>),
    /// The answer to an owner's beat.
    Echo(Vec<u8>),
    /// The last word of a stint.
    Obituary(Vec<u8>),
}

/// What a frame says.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// For the control plane.
    Message(Message),
    /// A beat with its number.
    Beat(Seq, Box<Beat>),
    /// The answer to an owner's beat.
    Echo(EchoBody),
    /// The last word of a stint.
    Obituary(Obituary),
}

impl Body {
    /// Its bytes.
    #[must_use]
    pub fn frame(&self) -> Frame {
        match self {
            Self::Message(message) => {
                let mut writer = Writer::new();
                message.encode(&mut writer);
                Frame::Message(writer.0)
            }
            Self::Beat(seq, beat) => {
                let mut buffer = [0; wire::beat::BEAT_MAX];
                Frame::Beat(*seq, beat.encode(&mut buffer).to_vec())
            }
            Self::Echo(echo) => Frame::Echo(echo.encode().to_vec()),
            Self::Obituary(obituary) => Frame::Obituary(obituary.encode().to_vec()),
        }
    }
}

impl Packet {
    /// What it says; `None` if its bytes say nothing, which no sender makes.
    #[must_use]
    pub fn body(&self) -> Option<Body> {
        match &self.frame {
            Frame::Message(bytes) => Message::decode(bytes).ok().map(Body::Message),
            Frame::Beat(seq, bytes) => {
                Beat::decode(bytes).ok().map(|beat| Body::Beat(*seq, Box::new(beat)))
            }
            Frame::Echo(bytes) => EchoBody::decode(bytes).ok().map(Body::Echo),
            Frame::Obituary(bytes) => Obituary::decode(bytes).ok().map(Body::Obituary),
        }
    }
    /// The message of the control plane that it is.
    #[must_use]
    pub fn message(&self) -> Option<Message> {
        self.body().and_then(|body| match body {
            Body::Message(message) => Some(message),
            _ => None,
        })
    }
    /// True for a message of the control plane.
    #[must_use]
    pub const fn is_message(&self) -> bool {
        matches!(self.frame, Frame::Message(_))
    }
}
