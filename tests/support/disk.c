/* Preloaded into a process of zoo, for the tests of what a disk lacks and of faults.

A disk that lacks something: ZOO_DISK_LACKS="flock=95 fsync=22 rename=17 exchange=22" gives these numbers of errors
(fsync: of folders). A fault: zoo_fault(root, n, number) ends the process by SIGKILL (number 0) in place of the n-th
call that changes something below the folder `root`, or lets that call fail with that number. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[4096];
static long countdown, number;
static int log_file = -1;

void zoo_fault(const char *folder, long n, long error, int log) {
    countdown = n;
    number = error;
    log_file = log;
    strncpy(root, folder ? folder : "", sizeof root - 1);
}

static int lacks(const char *what) {
    const char *all = getenv("ZOO_DISK_LACKS"), *here = all ? strstr(all, what) : NULL;
    return here ? atoi(here + strlen(what) + 1) : 0;
}

static int hit(const char *call, int folder, const char *path, int is_handle) {
    char whole[8192] = "", link[64];
    if (!root[0]) return 0;
    if (is_handle || (path && path[0] != '/')) {
        if (!is_handle && folder == AT_FDCWD) {
            if (!getcwd(whole, 4096)) return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t n = readlink(link, whole, 4096);
            if (n < 0) return 0;
            whole[n] = 0;
        }
        if (!is_handle) { strcat(whole, "/"); strncat(whole, path, 4000); }
    } else strncat(whole, path ? path : "", 4000);
    if (strncmp(whole, root, strlen(root))) return 0;
    if (log_file >= 0) {
        char line[8400];
        int n = snprintf(line, sizeof line, "%s %s\n", call, whole + strlen(root));
        syscall(SYS_write, log_file, line, n);
    }
    if (!countdown || --countdown) return 0;
    if (!number) { kill(getpid(), SIGKILL); for (;;) pause(); }
    errno = number;
    return 1;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define CALL(type, name, parameters, arguments, folder, path, is_handle) \
    type name parameters { if (hit(#name, folder, path, is_handle)) return -1; return NEXT(name) arguments; }
#define OPEN(name, first, with, folder) \
    int name first { \
        va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
        if (flags & (O_CREAT | O_TRUNC) && hit("open", folder, path, 0)) return -1; \
        return NEXT(name) with; }

OPEN(open, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(open64, (const char *path, int flags, ...), (path, flags, mode), AT_FDCWD)
OPEN(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode), at)
OPEN(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode), at)
CALL(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n), fd, NULL, 1)
CALL(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o), fd, NULL, 1)
CALL(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o), fd, NULL, 1)
CALL(ssize_t, writev, (int fd, const struct iovec *v, int n), (fd, v, n), fd, NULL, 1)
CALL(int, ftruncate, (int fd, off_t n), (fd, n), fd, NULL, 1)
CALL(int, ftruncate64, (int fd, off64_t n), (fd, n), fd, NULL, 1)
CALL(int, fdatasync, (int fd), (fd), fd, NULL, 1)
CALL(int, fchmod, (int fd, mode_t m), (fd, m), fd, NULL, 1)
CALL(int, mkdir, (const char *p, mode_t m), (p, m), AT_FDCWD, p, 0)
CALL(int, mkdirat, (int at, const char *p, mode_t m), (at, p, m), at, p, 0)
CALL(int, rmdir, (const char *p), (p), AT_FDCWD, p, 0)
CALL(int, unlink, (const char *p), (p), AT_FDCWD, p, 0)
CALL(int, unlinkat, (int at, const char *p, int f), (at, p, f), at, p, 0)
CALL(int, truncate64, (const char *p, off64_t n), (p, n), AT_FDCWD, p, 0)
CALL(int, chmod, (const char *p, mode_t m), (p, m), AT_FDCWD, p, 0)
CALL(int, symlink, (const char *t, const char *p), (t, p), AT_FDCWD, p, 0)
CALL(int, link, (const char *t, const char *p), (t, p), AT_FDCWD, p, 0)

int fsync(int fd) {
    struct stat status;
    if (hit("fsync", fd, NULL, 1)) return -1;
    if (lacks("fsync") && !fstat(fd, &status) && S_ISDIR(status.st_mode)) { errno = lacks("fsync"); return -1; }
    return NEXT(fsync)(fd);
}

int flock(int fd, int operation) {
    if (lacks("flock")) { errno = lacks("flock"); return -1; }
    return NEXT(flock)(fd, operation);
}

#define FCNTL(name) \
    int name(int fd, int command, ...) { \
        va_list list; va_start(list, command); void *argument = va_arg(list, void *); va_end(list); \
        int locks = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW; \
        if (locks && lacks("flock")) { errno = lacks("flock"); return -1; } \
        return ((int (*)(int, int, void *))dlsym(RTLD_NEXT, #name))(fd, command, argument); }
FCNTL(fcntl)
FCNTL(fcntl64)

int rename(const char *one, const char *other) {
    struct stat status;
    if (hit("rename", AT_FDCWD, other, 0)) return -1;
    if (lacks("rename") && !lstat(other, &status)) { errno = lacks("rename"); return -1; }
    return NEXT(rename)(one, other);
}

int renameat(int at, const char *one, int to, const char *other) {
    if (hit("rename", to, other, 0)) return -1;
    return NEXT(renameat)(at, one, to, other);
}

int renameat2(int at, const char *one, int to, const char *other, unsigned flags) {
    if (hit("exchange", to, other, 0)) return -1;
    if (lacks("exchange")) { errno = lacks("exchange"); return -1; }
    return NEXT(renameat2)(at, one, to, other, flags);
}
