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

/* Out of descriptors, a listener at a socket file ends the process, since EMFILE is none of the errors that it knows,
 * and one at a TCP port is called again and again for the same connection. So one descriptor is kept: it makes room
 * to take the connection and to close it. Its peer hears that at once, and tries again later, more and more slowly. */
#if defined(__linux__) && defined(__cplusplus)
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

inline void scalems_keep (int *kept)
{
    const int fresh = open ("/dev/null", O_RDONLY | O_CLOEXEC);
    const int before = __atomic_exchange_n (kept, fresh, __ATOMIC_ACQ_REL);
    if (before >= 0)
        close (before);
}

inline int scalems_accept4 (int listener, struct sockaddr *address, socklen_t *length, int flags)
{
    static int kept = -1;
    if (__atomic_load_n (&kept, __ATOMIC_ACQUIRE) < 0)
        scalems_keep (&kept);
    int taken = accept4 (listener, address, length, flags);
    if (taken >= 0 || errno != EMFILE)
        return taken;
    const int given = __atomic_exchange_n (&kept, -1, __ATOMIC_ACQ_REL);
    if (given >= 0) {
        close (given);
        taken = accept4 (listener, address, length, flags);
        if (taken >= 0)
            close (taken);
        scalems_keep (&kept);
    }
    /* All listeners know this one: there was no connection to take. */
    errno = ENFILE;
    return -1;
}
#define accept4 scalems_accept4
#endif

#endif
