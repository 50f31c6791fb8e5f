/* Makes one call of a kind fail on files below a directory, and counts those calls.
 *
 * SCALEMS_FAIL_BELOW: the directory. SCALEMS_FAIL_KIND: open, read, write, short, sync, names (sync of a
 * directory), truncate, make or remove.
 * SCALEMS_FAIL_NUMBER: which call of that kind, from 1. SCALEMS_FAIL_ERROR: with which errno.
 * SCALEMS_FAIL_NOTE: a file that gets a line for each call of the kind: its path, after "failed " for the one
 * that did. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long calls;

/* Whether this call of the kind on this path is the one. */
static int fails(const char *kind, const char *path) {
    const char *below = getenv("SCALEMS_FAIL_BELOW"), *wanted = getenv("SCALEMS_FAIL_KIND");
    const char *number = getenv("SCALEMS_FAIL_NUMBER"), *error = getenv("SCALEMS_FAIL_ERROR");
    const char *note = getenv("SCALEMS_FAIL_NOTE");
    if (!below || !wanted || !number || !error || !note || strcmp(kind, wanted) != 0) return 0;
    if (strncmp(path, below, strlen(below)) != 0) return 0;
    pthread_mutex_lock(&lock);
    int now = ++calls == atol(number);
    /* By names that are not intercepted. */
    FILE *file = fopen(note, "a");
    if (file) {
        fprintf(file, "%s%s\n", now ? "failed " : "", path);
        fclose(file);
    }
    pthread_mutex_unlock(&lock);
    if (now) errno = atoi(error);
    return now;
}

static int fails_at(const char *kind, int fd) {
    char link[64], path[PATH_MAX];
    int saved = errno;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    errno = saved;
    if (length < 0) return 0;
    path[length] = 0;
    return fails(kind, path);
}

#define MODE \
    mode_t mode = 0; \
    if (flags & (O_CREAT | __O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }

int open(const char *path, int flags, ...) {
    MODE REAL(open);
    return fails("open", path) ? -1 : real(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    MODE REAL(open64);
    return fails("open", path) ? -1 : real(path, flags, mode);
}
int openat(int at, const char *path, int flags, ...) {
    MODE REAL(openat);
    return fails("open", path) ? -1 : real(at, path, flags, mode);
}
int openat64(int at, const char *path, int flags, ...) {
    MODE REAL(openat64);
    return fails("open", path) ? -1 : real(at, path, flags, mode);
}
ssize_t read(int fd, void *to, size_t count) {
    REAL(read);
    return fails_at("read", fd) ? -1 : real(fd, to, count);
}
ssize_t pread64(int fd, void *to, size_t count, off64_t at) {
    REAL(pread64);
    return fails_at("read", fd) ? -1 : real(fd, to, count, at);
}
ssize_t write(int fd, const void *from, size_t count) {
    REAL(write);
    if (count > 1 && fails_at("short", fd)) count /= 2;
    return fails_at("write", fd) ? -1 : real(fd, from, count);
}
ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) {
    REAL(pwrite64);
    if (count > 1 && fails_at("short", fd)) count /= 2;
    return fails_at("write", fd) ? -1 : real(fd, from, count, at);
}
static const char *sync_kind(int fd) {
    struct stat facts;
    return fstat(fd, &facts) == 0 && S_ISDIR(facts.st_mode) ? "names" : "sync";
}
int fsync(int fd) {
    REAL(fsync);
    return fails_at(sync_kind(fd), fd) ? -1 : real(fd);
}
int fdatasync(int fd) {
    REAL(fdatasync);
    return fails_at(sync_kind(fd), fd) ? -1 : real(fd);
}
int ftruncate64(int fd, off64_t size) {
    REAL(ftruncate64);
    return fails_at("truncate", fd) ? -1 : real(fd, size);
}
int mkdir(const char *path, mode_t mode) {
    REAL(mkdir);
    return fails("make", path) ? -1 : real(path, mode);
}
int unlink(const char *path) {
    REAL(unlink);
    return fails("remove", path) ? -1 : real(path);
}
