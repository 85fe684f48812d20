/* Faults of a disk, for agents in tests: a library that is loaded before the C library.
 *
 * The folder TEST_DISK_FAULTS tells by its files what happens to files whose path contains "/state/":
 *   hang    a sync does not end before this file is gone
 *   full    a write fails with ENOSPC
 *   broken  a sync fails with EIO
 * Each time that something met a fault, the file "met" grows by a byte. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

static int concerns(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strstr(path, "/state/") != NULL;
}

static const char *named(const char *name, char *path, size_t bytes) {
    const char *folder = getenv("TEST_DISK_FAULTS");
    snprintf(path, bytes, "%s%s", folder ? folder : "/nowhere/", name);
    return path;
}

static int is_there(const char *name) {
    char path[4096];
    return access(named(name, path, sizeof path), F_OK) == 0;
}

static void note(void) {
    char path[4096];
    int fd = open(named("met", path, sizeof path), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd >= 0) {
        ssize_t ignored = write(fd, "x", 1);
        (void)ignored;
        close(fd);
    }
}

static int sync_fault(int fd) {
    if (!concerns(fd))
        return 0;
    if (is_there("hang")) {
        note();
        while (is_there("hang"))
            usleep(2000);
    }
    if (is_there("broken")) {
        note();
        errno = EIO;
        return -1;
    }
    return 0;
}

int fsync(int fd) {
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return sync_fault(fd) ? -1 : real(fd);
}

int fdatasync(int fd) {
    static int (*real)(int);
    if (!real)
        real = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    return sync_fault(fd) ? -1 : real(fd);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    static ssize_t (*real)(int, const void *, size_t, off64_t);
    if (!real)
        real = (ssize_t(*)(int, const void *, size_t, off64_t))dlsym(RTLD_NEXT, "pwrite64");
    if (concerns(fd) && is_there("full")) {
        note();
        errno = ENOSPC;
        return -1;
    }
    return real(fd, bytes, count, offset);
}
