//! Who comes in, and as what.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod common;

use common::{LOCALHOST, LONG, World, handmade_peer, incoming, received, round_trip, send_by_hand, verdict};
use scalems_protocol::Role;
use scalems_transport::{
    ConnectionEvent, Context, Dealer, Endpoint, Incoming, IpcDomain, PeerId, PrivateDir, Refusal, Router,
    SelfTestError, SendError, Source, TcpDomain, TransportError, check_build, poll,
};

const DENIED: ConnectionEvent = ConnectionEvent::Denied { status: 400 };

/// A socket as a stranger would open it, by libzmq alone.
fn stranger(endpoint: &Endpoint, set: impl FnOnce(&zmq::Socket)) -> (zmq::Context, zmq::Socket) {
    let context = zmq::Context::new();
    let socket = context.socket(zmq::DEALER).unwrap();
    socket.set_linger(0).unwrap();
    set(&socket);
    socket.connect(&endpoint.to_string()).unwrap();
    socket.send("let me in", zmq::DONTWAIT).unwrap();
    (context, socket)
}

#[test]
fn the_bundled_libzmq_has_curve() {
    check_build().unwrap();
    assert_eq!(zmq::version(), (4, 3, 5));
    assert_eq!(zmq::has("curve"), Some(true));
    assert_eq!(zmq::has("ipc"), Some(true));
}

#[test]
fn the_self_test_passes() {
    let world = World::new();
    world.zap.self_test(LONG).unwrap();
    // Again, as after a restart of the sockets.
    world.zap.self_test(LONG).unwrap();
}

#[test]
fn the_self_test_has_a_deadline() {
    let world = World::new();
    let result = world.zap.self_test(std::time::Duration::ZERO).map(|_permit| ());
    assert!(
        matches!(
            result,
            Err(TransportError::SelfTest(SelfTestError::Undecided { .. }))
        ),
        "{result:?}"
    );
}

#[test]
fn known_keys_come_in_with_their_role() {
    let world = World::new();
    let mut frontend = world.router();
    let at_frontend = world.listen_tcp(&mut frontend, TcpDomain::Frontend);
    let mut backend = world.router();
    let at_backend = world.listen_tcp(&mut backend, TcpDomain::Backend);

    for role in [Role::Client, Role::Observer] {
        let mut dealer = world.dealer_tcp(&at_frontend, &world.keys(Some(role)));
        round_trip(&mut frontend, &mut dealer, role);
    }
    let mut worker = world.dealer_tcp(&at_backend, &world.keys(Some(Role::Worker)));
    round_trip(&mut backend, &mut worker, Role::Worker);
}

#[test]
fn strangers_do_not_come_in() {
    let world = World::new();
    let mut router = world.router();
    let endpoint = world.listen_tcp(&mut router, TcpDomain::Frontend);

    let unknown = world.keys(None);
    let mut dealer = Dealer::connect(&world.context, &endpoint, Some(&unknown)).unwrap();
    assert_eq!(verdict(&mut router), DENIED);
    // The one refused learns it as well, instead of waiting.
    next_event(&mut dealer, DENIED);
    drop(dealer);

    let mut router = world.router();
    let endpoint = world.listen_tcp(&mut router, TcpDomain::Frontend);
    let (_context, _null) = stranger(&endpoint, |_| {});
    assert_eq!(verdict(&mut router), ConnectionEvent::Failed);
    assert_eq!(router.recv().unwrap(), None);

    let mut router = world.router();
    let endpoint = world.listen_tcp(&mut router, TcpDomain::Frontend);
    let (_context, _plain) = stranger(&endpoint, |socket| {
        socket.set_plain_username(Some("root")).unwrap();
        socket.set_plain_password(Some("root")).unwrap();
    });
    assert_eq!(verdict(&mut router), ConnectionEvent::Failed);
    assert_eq!(router.recv().unwrap(), None);
}

#[test]
fn a_client_that_expects_another_server_does_not_talk() {
    let world = World::new();
    let mut router = world.router();
    let endpoint = world.listen_tcp(&mut router, TcpDomain::Frontend);
    let mut keys = world.keys(Some(Role::Client));
    keys.server = world.keys(None).keys.public;
    let _dealer = Dealer::connect(&world.context, &endpoint, Some(&keys)).unwrap();
    assert_eq!(verdict(&mut router), ConnectionEvent::Failed);
}

#[test]
fn a_key_of_another_role_is_refused() {
    for (domain, role) in [
        (TcpDomain::Backend, Role::Client),
        (TcpDomain::Backend, Role::Observer),
        (TcpDomain::Frontend, Role::Worker),
    ] {
        let world = World::new();
        let mut router = world.router();
        let endpoint = world.listen_tcp(&mut router, domain);
        let _dealer = Dealer::connect(&world.context, &endpoint, Some(&world.keys(Some(role)))).unwrap();
        assert_eq!(verdict(&mut router), DENIED, "{domain:?} {role:?}");
        assert_eq!(router.recv().unwrap(), None);
    }
}

#[test]
fn a_dismissed_key_does_not_come_in_again() {
    let world = World::new();
    let mut router = world.router();
    let endpoint = world.listen_tcp(&mut router, TcpDomain::Frontend);
    let keys = world.keys(Some(Role::Client));
    let mut dealer = world.dealer_tcp(&endpoint, &keys);
    assert_eq!(verdict(&mut router), ConnectionEvent::Opened);
    world.zap.dismiss(&keys.keys.public);
    let _again = Dealer::connect(&world.context, &endpoint, Some(&keys)).unwrap();
    assert_eq!(verdict(&mut router), DENIED);
    round_trip(&mut router, &mut dealer, Role::Client);
}

#[test]
fn one_router_has_doors_of_several_kinds() {
    let world = World::new();
    let mut router = world.router();
    // The TCP door in between, to see that each bind has its own mechanism.
    let client = router
        .bind_ipc(&world.zap, IpcDomain::Client, &world.directory)
        .unwrap();
    let tcp = world.listen_tcp(&mut router, TcpDomain::Frontend);
    let observer = router
        .bind_ipc(&world.zap, IpcDomain::Observer, &world.directory)
        .unwrap();

    let mut dealer = world.dealer(&client);
    round_trip(&mut router, &mut dealer, Role::Client);
    let mut dealer = world.dealer(&observer);
    round_trip(&mut router, &mut dealer, Role::Observer);
    let mut dealer = world.dealer_tcp(&tcp, &world.keys(Some(Role::Observer)));
    round_trip(&mut router, &mut dealer, Role::Observer);
}

#[test]
fn the_worker_socket_gives_the_worker_role() {
    let world = World::new();
    let mut router = world.router();
    let endpoint = router
        .bind_ipc(&world.zap, IpcDomain::Worker, &world.directory)
        .unwrap();
    let mut dealer = world.dealer(&endpoint);
    round_trip(&mut router, &mut dealer, Role::Worker);
}

#[test]
fn nobody_gives_himself_a_role() {
    let world = World::new();
    let mut router = world.router();
    let endpoint = router
        .bind_ipc(&world.zap, IpcDomain::Observer, &world.directory)
        .unwrap();
    let properties: [(&str, &[u8]); 4] = [
        ("Socket-Type", b"DEALER"),
        ("User-Id", b"client"),
        ("Identity", b""),
        ("user-id", b"client"),
    ];
    let mut peer = handmade_peer(&endpoint, &properties);
    send_by_hand(&mut peer, b"stop");
    let received = received(&mut router);
    assert_eq!(received.role, Role::Observer);
    assert_eq!(received.message.header, &b"stop"[..]);
}

#[test]
fn nobody_chooses_his_routing_id() {
    let world = World::new();
    let mut router = world.router();
    let endpoint = router
        .bind_ipc(&world.zap, IpcDomain::Observer, &world.directory)
        .unwrap();
    let mut good = world.dealer(&endpoint);
    let PeerId(known) = round_trip(&mut router, &mut good, Role::Observer);

    let refused = Incoming::Refused {
        peer: None,
        refusal: Refusal::OwnRoutingId,
    };
    let mut other = handmade_peer(
        &endpoint,
        &[("Socket-Type", b"DEALER"), ("Identity", b"worker-7")],
    );
    send_by_hand(&mut other, b"stop");
    assert_eq!(incoming(&mut router), refused);

    // The id of a peer that is there is not to be had at all.
    let alike = [&[0][..], &known.to_be_bytes()].concat();
    let properties: [(&str, &[u8]); 2] = [("Socket-Type", b"DEALER"), ("Identity", &alike)];
    let mut second = handmade_peer(&endpoint, &properties);
    send_by_hand(&mut second, b"stop");
    round_trip(&mut router, &mut good, Role::Observer);
    assert_eq!(router.recv().unwrap(), None);
    drop(second);

    // That of one who left is, but whoever takes it is not taken for him.
    drop(good);
    let deadline = common::deadline();
    while router.send(PeerId(known), b"", &[]) != Err(SendError::Gone) {
        assert!(std::time::Instant::now() < deadline, "it is never gone");
        poll(
            [Source::readable(&router)],
            Some(std::time::Duration::from_millis(2)),
        )
        .unwrap();
    }
    // libzmq says so a moment before the id is free: until then an heir is not listened to.
    let mut heir = loop {
        let mut heir = handmade_peer(&endpoint, &properties);
        send_by_hand(&mut heir, b"stop");
        let [ready] = poll(
            [Source::readable(&router)],
            Some(std::time::Duration::from_millis(200)),
        )
        .unwrap();
        if ready.readable {
            break heir;
        }
        assert!(std::time::Instant::now() < deadline, "the id is never free");
    };
    assert_eq!(incoming(&mut router), refused);
    assert_eq!(router.refused(), 2);
    router.forget(PeerId(known));
    send_by_hand(&mut heir, b"hello");
    assert_eq!(received(&mut router).role, Role::Observer);
}

/// Where libzmq begins to count is told to a child by its output, and must differ from process to process:
/// whoever guesses the next number can end the agent.
#[test]
fn routing_ids_cannot_be_foreseen() {
    const CHILD: &str = "SCALEMS_TRANSPORT_TEST_CHILD";
    if std::env::var_os(CHILD).is_some() {
        let world = World::new();
        let mut router = world.router();
        let endpoint = router
            .bind_ipc(&world.zap, IpcDomain::Client, &world.directory)
            .unwrap();
        let peer = round_trip(&mut router, &mut world.dealer(&endpoint), Role::Client);
        println!("first={}", peer.0);
        return;
    }
    let first = || {
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "routing_ids_cannot_be_foreseen", "--nocapture"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8(child.stdout).unwrap();
        let (_, number) = said.split_once("first=").unwrap();
        number.lines().next().unwrap().to_owned()
    };
    // Three in a row agree by chance once in 2^60 runs.
    let starts = [first(), first(), first()];
    assert!(starts[0] != starts[1] || starts[1] != starts[2], "{starts:?}");
}

#[test]
fn without_authentication_nobody_comes_in() {
    let world = World::new();
    let mut router = world.router();
    let endpoint = router
        .bind_ipc(&world.zap, IpcDomain::Client, &world.directory)
        .unwrap();
    drop(world.zap);
    let _dealer = Dealer::connect(&world.context, &endpoint, None).unwrap();
    assert_eq!(verdict(&mut router), ConnectionEvent::Failed);
}

#[test]
fn authentication_of_another_context_is_refused() {
    let world = World::new();
    let mut router = Router::new(&Context::new().unwrap()).unwrap();
    let bound = router.bind_ipc(&world.zap, IpcDomain::Client, &world.directory);
    assert!(matches!(bound, Err(TransportError::OtherContext)), "{bound:?}");
}

#[test]
fn tcp_needs_keys() {
    let context = Context::new().unwrap();
    let endpoint = Endpoint::tcp("localhost", 9).unwrap();
    let result = Dealer::connect(&context, &endpoint, None).map(|_dealer| ());
    assert!(
        matches!(result, Err(TransportError::KeysMissing { .. })),
        "{result:?}"
    );
}

#[test]
fn ipv6_works_where_the_host_has_it() {
    let Ok(probe) = std::net::TcpListener::bind("[::1]:0") else {
        return;
    };
    drop(probe);
    let world = World::new();
    let mut router = world.router();
    let permit = world.zap.self_test(LONG).unwrap();
    let address = "::1".parse().unwrap();
    let port = router
        .bind_tcp(&permit, TcpDomain::Frontend, address, 0, &world.server)
        .unwrap();
    let endpoint = Endpoint::tcp("::1", port).unwrap();
    let mut dealer = world.dealer_tcp(&endpoint, &world.keys(Some(Role::Client)));
    round_trip(&mut router, &mut dealer, Role::Client);
}

#[test]
fn a_taken_port_is_an_error() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let permit = world.zap.self_test(LONG).unwrap();
    let port = taken.local_addr().unwrap().port();
    let bound = world
        .router()
        .bind_tcp(&permit, TcpDomain::Frontend, LOCALHOST, port, &world.server);
    let error = bound.unwrap_err().to_string();
    assert!(
        error.contains(&format!("cannot listen at tcp://127.0.0.1:{port}")),
        "{error}"
    );
}

#[test]
fn a_restarted_agent_takes_over_the_socket_files() {
    let place = tempfile::tempdir().unwrap();
    let directory = PrivateDir::ensure(&place.path().join("pilot")).unwrap();
    let mut dealer: Option<Dealer> = None;
    // A context of its own each time: the end of the last one takes its socket files away.
    for _life in 0..3 {
        let world = World::new();
        let mut router = world.router();
        let endpoint = router
            .bind_ipc(&world.zap, IpcDomain::Client, &directory)
            .unwrap();
        let client =
            dealer.get_or_insert_with(|| Dealer::connect(&Context::new().unwrap(), &endpoint, None).unwrap());
        next_event(client, ConnectionEvent::Opened);
        round_trip(&mut router, client, Role::Client);
        drop((router, world));
        next_event(client, ConnectionEvent::Closed);
        // libzmq tells of it a moment before it takes the connection away. Nothing is kept for the next life.
        let deadline = common::deadline();
        while client.send(b"stale", &[]) != Err(SendError::Full) {
            assert!(std::time::Instant::now() < deadline, "still there");
            poll(
                [Source::readable(client)],
                Some(std::time::Duration::from_millis(2)),
            )
            .unwrap();
        }
    }
}

/// Waits until that happens to the dealer's connection.
fn next_event(dealer: &mut Dealer, wanted: ConnectionEvent) {
    let deadline = common::deadline();
    while dealer.connection_event().unwrap() != Some(wanted) {
        assert!(std::time::Instant::now() < deadline, "{wanted:?} never came");
        poll([Source::connections(dealer)], Some(LONG)).unwrap();
    }
}
