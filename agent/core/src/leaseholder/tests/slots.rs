//! Cores and GPUs are given once, given back as they were, and lie where they were asked for.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::slots::{Seat, Share, Slots, WHOLE};
use super::*;

/// So many nodes of so many cores and GPUs each, numbered through.
fn machine(nodes: &[(u32, u32)]) -> Settings {
    let (mut cpus, mut gpus) = (0, 0);
    let named = nodes.iter().map(|(cores, near)| {
        let node = NumaNode {
            cpus: (cpus..cpus + cores).collect(),
            gpus: (gpus..gpus + near).collect(),
        };
        (cpus, gpus) = (cpus + cores, gpus + near);
        node
    });
    let nodes = named.collect();
    Settings {
        cpus: (0..cpus).collect(),
        gpus: (0..gpus).collect(),
        nodes,
        ..settings(0)
    }
}

fn take(slots: &mut Slots, cores: u64, gpus: u64, placement: Placement) -> Option<(Vec<u32>, Vec<u32>)> {
    let seat = slots.take(cores * WHOLE, gpus * WHOLE, placement)?;
    Some((Seat::numbers(&seat.cpus), Seat::numbers(&seat.gpus)))
}

/// Cores and GPUs.
fn of(cpus: &[u32], gpus: &[u32]) -> (Vec<u32>, Vec<u32>) {
    (cpus.to_vec(), gpus.to_vec())
}

#[test]
fn neighbours_are_preferred_and_the_lowest_taken() {
    let mut slots = Slots::new(&machine(&[(6, 0)]));
    assert_eq!(take(&mut slots, 1, 0, Placement::Compact), Some(of(&[0], &[])));
    assert_eq!(take(&mut slots, 2, 0, Placement::Compact), Some(of(&[1, 2], &[])));
    let first = Share {
        number: 0,
        parts: WHOLE,
    };
    slots.give_back(&Seat {
        cpus: vec![first],
        gpus: Vec::new(),
    });
    assert_eq!(take(&mut slots, 2, 0, Placement::Compact), Some(of(&[3, 4], &[])));
    assert_eq!(take(&mut slots, 0, 0, Placement::Compact), Some(of(&[], &[])));
    assert_eq!(take(&mut slots, 2, 0, Placement::Compact), Some(of(&[0, 5], &[])));
    assert_eq!(take(&mut slots, 1, 0, Placement::Compact), None);
}

#[test]
fn a_node_that_is_begun_is_filled_before_another_is() {
    let mut slots = Slots::new(&machine(&[(4, 0), (4, 0)]));
    assert_eq!(
        take(&mut slots, 3, 0, Placement::Compact),
        Some(of(&[0, 1, 2], &[]))
    );
    assert_eq!(
        take(&mut slots, 4, 0, Placement::Strict),
        Some(of(&[4, 5, 6, 7], &[]))
    );
    assert_eq!(take(&mut slots, 1, 0, Placement::Compact), Some(of(&[3], &[])));
}

/// There are two cores, one in each node: a strict task waits, another would take them.
#[test]
fn a_strict_task_waits_for_its_node() {
    let mut slots = Slots::new(&machine(&[(4, 0), (4, 0)]));
    let parts = |count: u64| count * WHOLE;
    let left = slots.take(parts(3), 0, Placement::Compact).unwrap();
    assert_eq!(
        take(&mut slots, 3, 0, Placement::Compact),
        Some(of(&[4, 5, 6], &[]))
    );
    assert_eq!(take(&mut slots, 2, 0, Placement::Strict), None);
    slots.give_back(&left);
    assert_eq!(take(&mut slots, 2, 0, Placement::Strict), Some(of(&[0, 1], &[])));
    assert_eq!(
        take(&mut slots, 3, 0, Placement::Scatter),
        Some(of(&[2, 3, 7], &[]))
    );
    // More than a node has needs two, and gets them.
    let mut slots = Slots::new(&machine(&[(4, 0), (4, 0)]));
    assert_eq!(
        take(&mut slots, 6, 0, Placement::Strict).unwrap().0.len(),
        6,
        "it would need two nodes anyway"
    );
}

#[test]
fn cores_are_near_their_gpus() {
    let mut slots = Slots::new(&machine(&[(4, 1), (4, 1), (4, 0)]));
    // What needs no GPU leaves those near them alone.
    assert_eq!(take(&mut slots, 2, 0, Placement::Compact), Some(of(&[8, 9], &[])));
    assert_eq!(take(&mut slots, 1, 1, Placement::Compact), Some(of(&[0], &[0])));
    assert_eq!(
        take(&mut slots, 4, 1, Placement::Compact),
        Some(of(&[4, 5, 6, 7], &[1]))
    );
    let mut slots = Slots::new(&machine(&[(4, 0), (4, 2)]));
    assert_eq!(take(&mut slots, 1, 1, Placement::Scatter), Some(of(&[4], &[0])));
    // Those near are not enough: they go first all the same.
    assert_eq!(
        take(&mut slots, 5, 1, Placement::Compact),
        Some(of(&[0, 1, 5, 6, 7], &[1]))
    );
}

#[test]
fn parts_share_a_place_and_span_none() {
    let mut slots = Slots::new(&machine(&[(4, 2)]));
    let mut gpus = |parts: u64| {
        let seat = slots.take(0, parts, Placement::Compact)?;
        Some(
            seat.gpus
                .iter()
                .map(|share| (share.number, share.parts))
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(gpus(4_000), Some(vec![(0, 4_000)]));
    assert_eq!(gpus(7_000), Some(vec![(1, 7_000)]), "it does not span two");
    assert_eq!(gpus(3_000), Some(vec![(1, 3_000)]), "the fullest that has room");
    assert_eq!(gpus(6_001), None);
    assert_eq!(gpus(6_000), Some(vec![(0, 6_000)]));
    let mut slots = Slots::new(&machine(&[(4, 2)]));
    let seat = slots.take(0, 15_000, Placement::Compact).unwrap();
    let shares: Vec<_> = seat
        .gpus
        .iter()
        .map(|share| (share.number, share.parts))
        .collect();
    assert_eq!(shares, [(0, WHOLE), (1, 5_000)]);
}

#[test]
fn with_many_nodes_those_with_the_most_room_are_taken() {
    let nodes: Vec<(u32, u32)> = (0..20).map(|at| (2 + u32::from(at == 7), 0)).collect();
    let mut slots = Slots::new(&machine(&nodes));
    let (cpus, _) = take(&mut slots, 5, 0, Placement::Strict).unwrap();
    assert_eq!(cpus, [0, 1, 14, 15, 16]);
    assert_eq!(take(&mut slots, 1, 0, Placement::Compact), Some(of(&[2], &[])));
}

#[derive(Clone, Debug)]
enum Step {
    Take(u64, u64, Placement),
    GiveBack(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    let parts = || {
        prop_oneof![
            (0_u64..6).prop_map(|whole| whole * WHOLE),
            (0_u64..10).prop_map(|part| part * 2_500)
        ]
    };
    let placement = prop_oneof![
        Just(Placement::Compact),
        Just(Placement::Strict),
        Just(Placement::Scatter)
    ];
    prop_oneof![
        3 => (parts(), parts(), placement).prop_map(|(cores, gpus, placement)| Step::Take(cores, gpus, placement)),
        2 => any::<prop::sample::Index>().prop_map(Step::GiveBack),
    ]
}

/// What is free of each kind, by number, the long way.
type Free = [BTreeMap<u32, u64>; 2];

fn has(free: &Free, nodes: &[NumaNode], set: u32, parts: [u64; 2]) -> bool {
    let members = || nodes.iter().enumerate().filter(|(at, _)| set >> at & 1 == 1);
    [0, 1].into_iter().all(|kind| {
        let numbers = members().flat_map(|(_, node)| [&node.cpus, &node.gpus][kind]);
        let there: Vec<u64> = numbers.map(|number| free[kind][number]).collect();
        let whole = there.iter().filter(|parts| **parts == WHOLE).count() as u64;
        let (wants, part) = (parts[kind] / WHOLE, parts[kind] % WHOLE);
        let beside = there.iter().any(|free| (part..WHOLE).contains(free));
        whole >= wants + u64::from(part > 0 && !beside)
    })
}

/// The fewest nodes that have it, tried out one set after another.
fn fewest(free: &Free, nodes: &[NumaNode], parts: [u64; 2]) -> Option<u32> {
    let sets = 0..1_u32 << nodes.len();
    sets.filter(|set| has(free, nodes, *set, parts))
        .map(u32::count_ones)
        .min()
}

fn nodes_of(nodes: &[NumaNode], seat: &Seat) -> BTreeSet<usize> {
    let of = |node: &NumaNode| {
        seat.cpus.iter().any(|share| node.cpus.contains(&share.number))
            || seat.gpus.iter().any(|share| node.gpus.contains(&share.number))
    };
    (0..nodes.len()).filter(|at| of(&nodes[*at])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn against_all_ways_there_are(
        layout in prop::collection::vec((0_u32..5, 0_u32..3), 1..5),
        steps in prop::collection::vec(step(), 0..40),
    ) {
        let settings = machine(&layout);
        let nodes = &settings.nodes;
        let mut slots = Slots::new(&settings);
        let all = |numbers: &[u32]| numbers.iter().map(|number| (*number, WHOLE)).collect();
        let idle: Free = [all(&settings.cpus), all(&settings.gpus)];
        let mut free = idle.clone();
        let mut seats: Vec<Seat> = Vec::new();
        for step in steps {
            match step {
                Step::GiveBack(_) if seats.is_empty() => {}
                Step::GiveBack(at) => {
                    let seat = seats.swap_remove(at.index(seats.len()));
                    slots.give_back(&seat);
                    for (free, shares) in free.iter_mut().zip([&seat.cpus, &seat.gpus]) {
                        for share in shares {
                            *free.get_mut(&share.number).unwrap() += share.parts;
                        }
                    }
                }
                Step::Take(cores, gpus, placement) => {
                    let parts = [cores, gpus];
                    let needed = fewest(&free, nodes, parts);
                    let enough = fewest(&idle, nodes, parts);
                    let possible = needed.is_some() && (placement != Placement::Strict || needed == enough);
                    let seat = slots.take(cores, gpus, placement);
                    prop_assert_eq!(seat.is_some(), possible);
                    let Some(seat) = seat else { continue };
                    for ((free, shares), parts) in free.iter_mut().zip([&seat.cpus, &seat.gpus]).zip(parts) {
                        prop_assert!(shares.windows(2).all(|pair| pair[0].number < pair[1].number));
                        prop_assert_eq!(shares.iter().map(|share| share.parts).sum::<u64>(), parts);
                        prop_assert!(shares.iter().filter(|share| share.parts < WHOLE).count() <= 1);
                        for share in shares {
                            let left = free[&share.number].checked_sub(share.parts);
                            prop_assert!(left.is_some(), "{} is given twice", share.number);
                            free.insert(share.number, left.unwrap());
                        }
                    }
                    let spread = nodes_of(nodes, &seat).len() as u32;
                    if placement != Placement::Scatter {
                        prop_assert_eq!(Some(spread), needed);
                    } else if gpus == 0 && cores % WHOLE == 0 {
                        // As many nodes as there are, counted before it was taken.
                        let taken = |number: &u32| seat.cpus.iter().any(|share| share.number == *number);
                        let room = nodes.iter().filter(|node| {
                            node.cpus.iter().any(|number| taken(number) || free[0][number] == WHOLE)
                        });
                        prop_assert_eq!(u64::from(spread), (room.count() as u64).min(cores / WHOLE));
                    }
                    seats.push(seat);
                }
            }
        }
        for seat in &seats {
            slots.give_back(seat);
        }
        let cores = settings.cpus.len() as u64 * WHOLE;
        prop_assert!(slots.take(cores, settings.gpus.len() as u64 * WHOLE, Placement::Strict).is_some());
    }
}
