//! One network card's end of the wire.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use super::control::Plugged;
use crate::machine::Network;

/// Bytes that are held for a card that does not read; what comes then is lost, as on a wire.
const LONGEST_QUEUE: usize = 1 << 20;

/// The length before each frame.
const PREFIX: usize = 4;

/// A card that is plugged in.
#[derive(Debug)]
pub(crate) struct Card {
    pub(crate) machine: &'static str,
    pub(crate) network: Network,
    pub(crate) stream: UnixStream,
    input: Vec<u8>,
    /// Frames on their way, by the time when they arrive.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    output: Vec<u8>,
    queued: usize,
    sent: u64,
    for_it: u64,
    lost: u64,
}

impl Card {
    pub(crate) fn new(machine: &'static str, network: Network, stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self {
            machine,
            network,
            stream,
            input: Vec::new(),
            under_way: VecDeque::new(),
            output: Vec::new(),
            queued: 0,
            sent: 0,
            for_it: 0,
            lost: 0,
        })
    }

    /// Reads what is there and returns the whole frames, each with its length before it.
    ///
    /// # Errors
    /// When the card was unplugged: the machine is off.
    pub(crate) fn receive(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let mut buffer = [0; 1 << 16];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err(ErrorKind::ConnectionReset.into()),
            Ok(read) => self.input.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let mut frames = Vec::new();
        while let Some(length) = frame_length(&self.input).filter(|length| *length <= self.input.len()) {
            let rest = self.input.split_off(length);
            frames.push(std::mem::replace(&mut self.input, rest));
            self.sent += 1;
        }
        Ok(frames)
    }

    /// Takes a frame for this card, to arrive at an instant.
    pub(crate) fn send(&mut self, frame: &[u8], at: Instant) {
        self.for_it += 1;
        if self.queued + frame.len() > LONGEST_QUEUE {
            self.lost += 1;
            return;
        }
        self.queued += frame.len();
        let place = self.under_way.partition_point(|(other, _)| *other <= at);
        self.under_way.insert(place, (at, frame.to_vec()));
    }

    /// For people.
    pub(crate) fn shown(&self) -> Plugged {
        let Self { machine, network, sent, for_it, lost, queued, .. } = *self;
        Plugged { machine: machine.to_owned(), network, sent, for_it, lost, waiting: queued }
    }

    /// When the next frame arrives.
    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.under_way.front().map(|(at, _)| *at)
    }

    /// Whether bytes wait until the machine reads.
    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty()
    }

    /// Hands over what has arrived by now.
    ///
    /// # Errors
    /// When the card was unplugged.
    pub(crate) fn deliver(&mut self, now: Instant) -> io::Result<()> {
        while let Some((_, frame)) = self.under_way.pop_front_if(|(at, _)| *at <= now) {
            self.output.extend_from_slice(&frame);
        }
        while !self.output.is_empty() {
            match self.stream.write(&self.output) {
                Ok(written) => {
                    self.output.drain(..written);
                    self.queued -= written;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The length of the first frame in what was read, with its prefix.
fn frame_length(input: &[u8]) -> Option<usize> {
    let prefix: [u8; PREFIX] = input.get(..PREFIX)?.try_into().ok()?;
    #[expect(clippy::big_endian_bytes, reason = "that is how QEMU writes it")]
    let length = u32::from_be_bytes(prefix);
    Some(PREFIX + usize::try_from(length).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn frames_are_cut_at_their_lengths_however_they_arrive() {
        let (mut machine, wire) = UnixStream::pair().unwrap();
        let mut card = Card::new("host-1", Network::Storage, wire).unwrap();
        machine.write_all(&[0, 0, 0, 2, 7]).unwrap();
        assert!(card.receive().unwrap().is_empty());
        machine.write_all(&[8, 0, 0, 0, 1, 9, 0]).unwrap();
        assert_eq!(card.receive().unwrap(), [vec![0, 0, 0, 2, 7, 8], vec![0, 0, 0, 1, 9]]);
    }

    #[test]
    fn a_delayed_frame_arrives_when_it_is_due() {
        let (mut machine, wire) = UnixStream::pair().unwrap();
        machine.set_nonblocking(true).unwrap();
        let mut card = Card::new("host-1", Network::Storage, wire).unwrap();
        let (now, mut buffer) = (Instant::now(), [0; 8]);
        card.send(&[2], now + Duration::from_secs(5));
        card.send(&[1], now);
        card.deliver(now).unwrap();
        assert_eq!(machine.read(&mut buffer).unwrap(), 1);
        assert_eq!(card.next_arrival(), Some(now + Duration::from_secs(5)));
        card.deliver(now + Duration::from_secs(5)).unwrap();
        assert_eq!((machine.read(&mut buffer).unwrap(), buffer[0]), (1, 2));
    }
}
