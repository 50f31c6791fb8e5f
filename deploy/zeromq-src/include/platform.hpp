/* What libzmq may use of the system, beside what the build crate passes as -D.
 *
 * The build crate writes an empty file of this name, so libzmq would fall back to a wall clock for its
 * timers (a clock step would then fire heartbeat and reconnect timers), to socket pairs as wake-ups and to
 * descriptors that a child spawned at the wrong moment inherits. This one is found first. */
#ifndef SCALEMS_BUNDLED_PLATFORM_HPP
#define SCALEMS_BUNDLED_PLATFORM_HPP

#if defined(__unix__) || defined(__APPLE__)
#define HAVE_CLOCK_GETTIME
#define HAVE_POSIX_MEMALIGN 1
#define ZMQ_CACHELINE_SIZE 64
#define HAVE_IF_NAMETOINDEX
#define ZMQ_HAVE_IFADDRS
#define ZMQ_HAVE_NOEXCEPT
#define ZMQ_HAVE_O_CLOEXEC
#define ZMQ_HAVE_SO_KEEPALIVE
#endif

#if defined(__linux__)
#define HAVE_ACCEPT4
#define ZMQ_HAVE_EVENTFD
#define ZMQ_HAVE_EVENTFD_CLOEXEC
#define ZMQ_HAVE_PTHREAD_SETNAME_2
#define ZMQ_HAVE_PTHREAD_SET_AFFINITY
#define ZMQ_HAVE_SOCK_CLOEXEC
#define ZMQ_HAVE_TCP_KEEPCNT
#define ZMQ_HAVE_TCP_KEEPIDLE
#define ZMQ_HAVE_TCP_KEEPINTVL
#define ZMQ_IOTHREAD_POLLER_USE_EPOLL_CLOEXEC
#endif

#endif
