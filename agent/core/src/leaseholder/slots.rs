//! Which cores and GPUs a task gets.
//!
//! A *slot* is a core or a GPU. Slots that are near each other are a *node*; what nobody said anything about makes up
//! one more. Promised is: nothing is given twice, what is given back is what was taken, `compact` takes as few nodes
//! as it can now, `strict` no more than it would need if all were free, and GPUs go before cores, which follow them.

use scalems_protocol::Amount;
use scalems_protocol::task::Placement;

use super::interface::{NumaNode, Settings};

/// One slot, in the parts that can be given to different tasks.
pub(super) const WHOLE: u64 = Amount::PARTS;
/// With more nodes than this the first that fit are taken, those with the most room first: the sets of 12 are 4,095.
const EXACT: usize = 12;

/// Cores, and GPUs: indices into what there is of both.
const KINDS: [usize; 2] = [0, 1];
const CORES: usize = 0;
const GPUS: usize = 1;

/// What a task was given of one slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) number: u32,
    pub(super) parts: u64,
}

/// What one task was given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seat {
    pub(super) cpus: Vec<Share>,
    pub(super) gpus: Vec<Share>,
}

impl Seat {
    /// The numbers of what was given, rising.
    pub(super) fn numbers(shares: &[Share]) -> Vec<u32> {
        shares.iter().map(|share| share.number).collect()
    }

    /// How much of each.
    pub(super) fn shares(shares: &[Share]) -> Vec<Amount> {
        shares
            .iter()
            .map(|share| Amount::from_parts(share.parts))
            .collect()
    }
}

/// So many whole slots, and a part of another.
#[derive(Clone, Copy, Debug)]
struct Want {
    whole: usize,
    part: u64,
}

impl Want {
    fn of(parts: u64) -> Self {
        Self {
            whole: (parts / WHOLE) as usize,
            part: parts % WHOLE,
        }
    }

    const fn is_nothing(self) -> bool {
        self.whole == 0 && self.part == 0
    }
}

/// The slots of one kind in one node; rising by number.
#[derive(Clone, Debug, Default)]
struct Row(Vec<(u32, u64)>);

impl Row {
    fn of(numbers: impl Iterator<Item = u32>) -> Self {
        Self(numbers.map(|number| (number, WHOLE)).collect())
    }

    fn has(&self, number: u32) -> bool {
        self.0
            .binary_search_by_key(&number, |(number, _)| *number)
            .is_ok()
    }

    fn whole(&self) -> usize {
        self.0.iter().filter(|(_, free)| *free == WHOLE).count()
    }

    /// The fullest of those that are shared already and have room for a part.
    fn begun(&self, part: u64) -> Option<usize> {
        let begun = (0..self.0.len()).filter(|at| (part..WHOLE).contains(&self.0[*at].1));
        begun.min_by_key(|at| self.0[*at].1)
    }

    /// The lowest neighbours that are free, since neighbours share caches; else the lowest that are free.
    fn take_whole(&mut self, count: usize, to: &mut Vec<Share>) {
        if count == 0 {
            return;
        }
        let mut rows = self.0.windows(count);
        let row = rows.position(|row| row.iter().all(|(_, free)| *free == WHOLE));
        let mut left = count;
        for (number, free) in self.0.iter_mut().skip(row.unwrap_or(0)) {
            if left > 0 && *free == WHOLE {
                *free = 0;
                left -= 1;
                to.push(Share {
                    number: *number,
                    parts: WHOLE,
                });
            }
        }
        assert_eq!(left, 0, "whoever planned it saw that there are enough");
    }

    /// A part of one slot, of one that is shared already if there is room.
    fn take_part(&mut self, part: u64, to: &mut Vec<Share>) {
        let whole = || self.0.iter().position(|(_, free)| *free == WHOLE);
        let at = self.begun(part).or_else(whole);
        let (number, free) = &mut self.0[at.expect("whoever planned it saw that there is one")];
        *free -= part;
        to.push(Share {
            number: *number,
            parts: part,
        });
    }

    /// Whether the slot was one of these.
    fn give_back(&mut self, share: Share) -> bool {
        let Ok(at) = self.0.binary_search_by_key(&share.number, |(number, _)| *number) else {
            return false;
        };
        let free = &mut self.0[at].1;
        *free += share.parts;
        assert!(*free <= WHOLE, "what is given back was taken before");
        true
    }
}

/// What one node has of both kinds.
type Node = [Row; 2];

/// All slots of a worker.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    nodes: Vec<Node>,
    /// The same with all free.
    idle: Vec<Node>,
    /// Sets of nodes, the smallest first.
    sets: Vec<Vec<usize>>,
}

impl Slots {
    pub(super) fn new(settings: &Settings) -> Self {
        let offered = [&settings.cpus, &settings.gpus];
        let mut left = offered.map(|numbers| {
            let mut sorted = numbers.clone();
            sorted.sort_unstable();
            assert!(
                sorted.windows(2).all(|pair| pair[0] < pair[1]),
                "the shell names each number once"
            );
            sorted
        });
        let near = settings.nodes.iter().map(|NumaNode { cpus, gpus }| [cpus, gpus]);
        let mut nodes: Vec<Node> = near
            .map(|named| {
                KINDS.map(|kind| Row::of(left[kind].extract_if(.., |number| named[kind].contains(number))))
            })
            .collect();
        nodes.push(left.map(|rest| Row::of(rest.into_iter())));
        nodes.retain(|node| node.iter().any(|row| !row.0.is_empty()));
        Self {
            sets: sets(nodes.len()),
            idle: nodes.clone(),
            nodes,
        }
    }

    /// Takes so much of both kinds, in parts, if it is there in a way that suits.
    pub(super) fn take(&mut self, cores: u64, gpus: u64, placement: Placement) -> Option<Seat> {
        let wants = [Want::of(cores), Want::of(gpus)];
        if wants.iter().all(|want| want.is_nothing()) {
            return Some(Seat::default());
        }
        let set = match placement {
            Placement::Compact => fewest(&self.nodes, &self.sets, wants, self.nodes.len())?,
            Placement::Strict => {
                let enough = fewest(&self.idle, &self.sets, wants, self.nodes.len())?.len();
                fewest(&self.nodes, &self.sets, wants, enough)?
            }
            Placement::Scatter => {
                let all: Vec<usize> = (0..self.nodes.len()).collect();
                suits(&self.nodes, &all, wants).then_some(all)?
            }
        };
        let evenly = placement == Placement::Scatter;
        let gpus = self.hand_out(GPUS, &set, wants[GPUS], evenly, &[]);
        let near: Vec<usize> = set
            .iter()
            .copied()
            .filter(|node| gpus.iter().any(|share| self.nodes[*node][GPUS].has(share.number)))
            .collect();
        let cpus = self.hand_out(CORES, &set, wants[CORES], evenly, &near);
        Some(Seat { cpus, gpus })
    }

    /// Takes slots of one kind out of a set of nodes that has them: those near first, then where there is the most room.
    fn hand_out(
        &mut self,
        kind: usize,
        set: &[usize],
        want: Want,
        evenly: bool,
        near: &[usize],
    ) -> Vec<Share> {
        let mut order = set.to_vec();
        order.sort_by_key(|node| {
            (
                !near.contains(node),
                usize::MAX - self.nodes[*node][kind].whole(),
                *node,
            )
        });
        let mut given: Vec<usize> = vec![0; order.len()];
        let begun = order
            .iter()
            .position(|node| want.part > 0 && self.nodes[*node][kind].begun(want.part).is_some());
        let opened = usize::from(want.part > 0 && begun.is_none());
        let mut last = 0;
        for _ in 0..want.whole + opened {
            let room = (0..order.len()).filter(|at| given[*at] < self.nodes[order[*at]][kind].whole());
            let next = room.min_by_key(|at| if evenly { (given[*at], *at) } else { (0, *at) });
            last = next.expect("the set has enough");
            given[last] += 1;
        }
        let part_of = begun.unwrap_or(last);
        if opened > 0 {
            given[last] -= 1;
        }
        let mut shares = Vec::with_capacity(want.whole + 1);
        for (at, node) in order.iter().enumerate() {
            self.nodes[*node][kind].take_whole(given[at], &mut shares);
        }
        if want.part > 0 {
            self.nodes[order[part_of]][kind].take_part(want.part, &mut shares);
        }
        shares.sort_unstable_by_key(|share| share.number);
        shares
    }

    /// Gives back what [`Slots::take`] gave.
    pub(super) fn give_back(&mut self, seat: &Seat) {
        for (kind, shares) in KINDS.into_iter().zip([&seat.cpus, &seat.gpus]) {
            for share in shares {
                let found = self.nodes.iter_mut().any(|node| node[kind].give_back(*share));
                assert!(found, "only what was taken is given back");
            }
        }
    }
}

/// All sets of so many nodes, the smallest first; only those of one node if they are too many.
fn sets(count: usize) -> Vec<Vec<usize>> {
    if count > EXACT {
        let single = (0..count).map(|node| vec![node]);
        return single.collect();
    }
    let members = |mask: u32| (0..count).filter(move |node| mask >> node & 1 == 1).collect();
    let mut sets: Vec<Vec<usize>> = (1..1_u32 << count).map(members).collect();
    sets.sort_by_key(|set: &Vec<usize>| (set.len(), set.clone()));
    sets
}

/// Whether a set of nodes has what is wanted.
fn suits(nodes: &[Node], set: &[usize], wants: [Want; 2]) -> bool {
    KINDS.into_iter().all(|kind| {
        let Want { whole, part } = wants[kind];
        let free: usize = set.iter().map(|node| nodes[*node][kind].whole()).sum();
        free >= whole && (part == 0 || free > whole || fits_beside(nodes, set, kind, part))
    })
}

/// Whether a part fits beside another one, in one slot of a set of nodes.
fn fits_beside(nodes: &[Node], set: &[usize], kind: usize, part: u64) -> bool {
    part == 0 || set.iter().any(|node| nodes[*node][kind].begun(part).is_some())
}

/// The fewest nodes, at most so many, that have what is wanted; of several such sets the one in which the least is
/// begun, then that with the fewest free GPUs, then with the fewest free cores: what is whole stays whole.
fn fewest(nodes: &[Node], sets: &[Vec<usize>], wants: [Want; 2], most: usize) -> Option<Vec<usize>> {
    let free = |set: &[usize], kind: usize| set.iter().map(|node| nodes[*node][kind].whole()).sum::<usize>();
    let begins = |set: &[usize], kind: usize| !fits_beside(nodes, set, kind, wants[kind].part);
    let suiting = sets
        .iter()
        .take_while(|set| set.len() <= most)
        .filter(|set| suits(nodes, set, wants));
    let mut suiting = suiting.peekable();
    let least = suiting.peek().map_or(0, |set| set.len());
    let best = suiting.take_while(|set| set.len() == least).min_by_key(|set| {
        (
            begins(set, GPUS),
            begins(set, CORES),
            free(set, GPUS),
            free(set, CORES),
        )
    });
    match best {
        Some(set) => Some(set.clone()),
        None if nodes.len() > EXACT => by_room(nodes, wants).filter(|set| set.len() <= most),
        None => None,
    }
}

/// Nodes with the most room, until they have what is wanted.
fn by_room(nodes: &[Node], wants: [Want; 2]) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    let free = |node: &usize, kind: usize| {
        if wants[kind].is_nothing() {
            0
        } else {
            nodes[*node][kind].whole()
        }
    };
    order.sort_by_key(|node| {
        (
            usize::MAX - free(node, GPUS),
            usize::MAX - free(node, CORES),
            *node,
        )
    });
    let many = (1..=order.len()).find(|many| suits(nodes, &order[..*many], wants))?;
    order.truncate(many);
    Some(order)
}
