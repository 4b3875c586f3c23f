//! The switch's loop: cards come and go, frames pass, and somebody changes the rules.

use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::card::Card;
use super::control::{Answer, Request};
use super::rules::Rules;
use crate::machine::{MACHINES, Network};
use crate::run::RunDir;

/// Where the two addresses lie in a frame, behind its length.
const TO: std::ops::Range<usize> = 4..10;
const FROM: std::ops::Range<usize> = 10..16;

/// A socket at which one card can be plugged in.
struct Socket {
    machine: &'static str,
    network: Network,
    listener: UnixListener,
}

struct Switch {
    control: UnixListener,
    sockets: Vec<Socket>,
    cards: Vec<Card>,
    rules: Rules,
    /// Which machine has shown which address, on each network.
    addresses: HashMap<(Network, [u8; 6]), &'static str>,
    frames: u64,
    dropped: u64,
}

/// Runs the switch of a lab until it is killed.
///
/// # Errors
/// When its sockets cannot be made.
pub fn run(directory: &RunDir) -> io::Result<()> {
    let mut sockets = Vec::new();
    for machine in MACHINES {
        for network in Network::ALL {
            let listener = listen(&directory.card_socket(machine.name, network))?;
            sockets.push(Socket { machine: machine.name, network, listener });
        }
    }
    let mut switch = Switch {
        control: listen(&directory.switch_socket())?,
        sockets,
        cards: Vec::new(),
        rules: Rules::default(),
        addresses: HashMap::new(),
        frames: 0,
        dropped: 0,
    };
    loop {
        switch.turn()?;
    }
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    fs::remove_file(path).ok();
    UnixListener::bind(path)
}

impl Switch {
    /// Waits for something to happen and does it.
    fn turn(&mut self) -> io::Result<()> {
        let ready = self.wait()?;
        let (sockets, cards) = (self.sockets.len(), self.cards.len());
        if ready[0] {
            self.control.accept().map(|(stream, _)| self.serve(stream)).ok();
        }
        let readable = (0..cards).filter(|card| ready[1 + sockets + card]).collect::<Vec<_>>();
        let mut unplugged = Vec::new();
        for card in readable {
            match self.cards[card].receive() {
                Ok(frames) => frames.iter().for_each(|frame| self.forward(card, frame)),
                Err(_) => unplugged.push(card),
            }
        }
        let now = Instant::now();
        for (index, card) in self.cards.iter_mut().enumerate() {
            if card.deliver(now).is_err() && !unplugged.contains(&index) {
                unplugged.push(index);
            }
        }
        unplugged.sort_unstable();
        for card in unplugged.into_iter().rev() {
            self.cards.remove(card);
        }
        for socket in (0..sockets).filter(|socket| ready[1 + socket]) {
            self.plug_in(socket);
        }
        Ok(())
    }

    /// Which of control, sockets and cards, in this order, are ready.
    fn wait(&self) -> io::Result<Vec<bool>> {
        let read = PollFlags::POLLIN;
        let mut all = vec![PollFd::new(self.control.as_fd(), read)];
        all.extend(self.sockets.iter().map(|socket| PollFd::new(socket.listener.as_fd(), read)));
        all.extend(self.cards.iter().map(|card| {
            let flags = if card.has_output() { read | PollFlags::POLLOUT } else { read };
            PollFd::new(card.stream.as_fd(), flags)
        }));
        let arrival = self.cards.iter().filter_map(Card::next_arrival).min();
        match poll(&mut all, arrival.map_or(PollTimeout::NONE, time_until)) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        Ok(all.iter().map(|one| one.any().unwrap_or(true)).collect())
    }

    /// A machine was switched on. Its card of before, if there is one still, is gone with it.
    fn plug_in(&mut self, socket: usize) {
        let Socket { machine, network, listener } = &self.sockets[socket];
        let plugged = listener.accept().and_then(|(stream, _)| Card::new(machine, *network, stream));
        if let Ok(card) = plugged {
            self.cards.retain(|old| (old.machine, old.network) != (card.machine, card.network));
            self.cards.push(card);
        }
    }

    fn forward(&mut self, from: usize, frame: &[u8]) {
        let Some(to) = frame.get(TO).and_then(|address| <[u8; 6]>::try_from(address).ok()) else { return };
        let (machine, network) = (self.cards[from].machine, self.cards[from].network);
        if let Some(address) = frame.get(FROM).and_then(|address| address.try_into().ok()) {
            self.addresses.insert((network, address), machine);
        }
        // The lowest bit of the first byte: for everybody.
        let receiver = if to[0] & 1 == 1 { None } else { self.addresses.get(&(network, to)).copied() };
        let now = Instant::now();
        for card in &mut self.cards {
            let wanted = card.network == network
                && card.machine != machine
                && receiver.is_none_or(|receiver| receiver == card.machine);
            if !wanted {
                continue;
            }
            match self.rules.delay(network, machine, card.machine) {
                Some(delay) => {
                    self.frames += 1;
                    card.send(frame, now + delay);
                }
                None => self.dropped += 1,
            }
        }
    }

    /// One question and its answer. Who does not ask within a second is left alone.
    fn serve(&mut self, mut stream: UnixStream) {
        let mut line = String::new();
        stream.set_read_timeout(Some(Duration::from_secs(1))).ok();
        BufReader::new(&stream).read_line(&mut line).ok();
        match serde_json::from_str(&line) {
            Ok(Request::Add(rules)) => self.rules.add(rules),
            Ok(Request::Heal { machine, network }) => self.rules.heal(machine.as_deref(), network),
            Ok(Request::Show) => {}
            Err(_) => return,
        }
        let answer = Answer {
            rules: self.rules.all().to_vec(),
            frames: self.frames,
            dropped: self.dropped,
            cards: self.cards.iter().map(Card::shown).collect(),
        };
        if let Ok(text) = serde_json::to_string(&answer) {
            writeln!(stream, "{text}").ok();
        }
    }
}

fn time_until(arrival: Instant) -> PollTimeout {
    let left = arrival.saturating_duration_since(Instant::now()) + Duration::from_micros(999);
    PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
}
