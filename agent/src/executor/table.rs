//! The programs of one spawner, under numbers that fit into an epoll event.

use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

use super::program::Program;

/// Which descriptor of which program an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) place: usize,
    /// Counts how often the place was taken: an event of the program before is not for this one.
    round: u32,
    pub(super) what: What,
}

/// A program's descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    End,
    Stdin,
    Stdout,
    Stderr,
}

impl Token {
    pub(super) fn pack(self) -> u64 {
        u64::from(self.round) << 32 | (self.place as u64) << 2 | self.what as u64
    }

    pub(super) fn unpack(number: u64) -> Self {
        let what = match number & 3 {
            0 => What::End,
            1 => What::Stdin,
            2 => What::Stdout,
            _ => What::Stderr,
        };
        Self {
            place: (number as u32 >> 2) as usize,
            round: (number >> 32) as u32,
            what,
        }
    }
}

/// Programs by place, by key and by deadline.
#[derive(Debug, Default)]
pub(super) struct Table {
    places: Vec<(u32, Option<Box<Program>>)>,
    free: Vec<usize>,
    by_key: HashMap<u64, usize>,
    deadlines: BTreeSet<(Instant, usize)>,
}

impl Table {
    /// The place that the next program gets.
    pub(super) fn next_place(&self) -> usize {
        self.free.last().copied().unwrap_or(self.places.len())
    }

    pub(super) fn insert(&mut self, program: Box<Program>) -> usize {
        let place = self.next_place();
        self.by_key.insert(program.key, place);
        self.deadlines.extend(program.deadline.map(|at| (at, place)));
        if self.free.pop().is_some() {
            let (round, free) = self.places.get_mut(place).expect("invariant: free places exist");
            *round = round.wrapping_add(1);
            *free = Some(program);
        } else {
            self.places.push((0, Some(program)));
        }
        place
    }

    pub(super) fn remove(&mut self, place: usize) -> Option<Box<Program>> {
        let program = self.places.get_mut(place)?.1.take()?;
        self.free.push(place);
        self.by_key.remove(&program.key);
        if let Some(at) = program.deadline {
            self.deadlines.remove(&(at, place));
        }
        Some(program)
    }

    pub(super) fn get(&mut self, place: usize) -> Option<&mut Program> {
        self.places.get_mut(place)?.1.as_deref_mut()
    }

    pub(super) fn place_of(&self, key: u64) -> Option<usize> {
        self.by_key.get(&key).copied()
    }

    pub(super) fn token(&self, place: usize, what: What) -> Token {
        Token {
            place,
            round: self.places.get(place).map_or(0, |(round, _)| *round),
            what,
        }
    }

    /// Whether the token is for the program that is there now.
    pub(super) fn is_current(&self, token: Token) -> bool {
        self.places
            .get(token.place)
            .is_some_and(|(round, program)| *round == token.round && program.is_some())
    }

    pub(super) fn set_deadline(&mut self, place: usize, at: Option<Instant>) {
        let Some((_, Some(program))) = self.places.get_mut(place) else {
            return;
        };
        if let Some(before) = std::mem::replace(&mut program.deadline, at) {
            self.deadlines.remove(&(before, place));
        }
        self.deadlines.extend(at.map(|at| (at, place)));
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// A place whose deadline has passed; its deadline is cleared.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<usize> {
        let (_, place) = *self.deadlines.first().filter(|(at, _)| *at <= now)?;
        self.set_deadline(place, None);
        Some(place)
    }

    pub(super) fn places(&self) -> Vec<usize> {
        self.by_key.values().copied().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_kernel() {
        for what in [What::End, What::Stdin, What::Stdout, What::Stderr] {
            let token = Token {
                place: 70_000,
                round: u32::MAX,
                what,
            };
            assert_eq!(Token::unpack(token.pack()), token);
        }
    }
}
