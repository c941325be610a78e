/* Bad weather for processes that have this loaded (LD_PRELOAD): a clock that jumps, and a folder that is read-only.

FASTAST_WEATHER names a file of two 64-bit numbers, which is looked at in every call: seconds by which the clock is
wrong, and whether the folder FASTAST_WEATHER_ROOT is read-only, as after a fault of its disk: open files too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static volatile int64_t calm[2], *weather = calm;
static char root[PATH_MAX];

__attribute__((constructor)) static void look(void) {
  const char *file = getenv("FASTAST_WEATHER"), *folder = getenv("FASTAST_WEATHER_ROOT");
  if (!file || !folder) return;
  int descriptor = REAL(open)(file, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return;
  void *there = mmap(NULL, sizeof calm, PROT_READ, MAP_SHARED, descriptor, 0);
  close(descriptor);
  if (there != MAP_FAILED) weather = there;
  snprintf(root, sizeof root, "%s/", folder);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int result = REAL(clock_gettime)(clock, now);
  if (clock == CLOCK_REALTIME) now->tv_sec += weather[0];
  return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
  int result = REAL(gettimeofday)(now, zone);
  now->tv_sec += weather[0];
  return result;
}

time_t time(time_t *now) {
  time_t found = REAL(time)(NULL) + weather[0];
  if (now) *now = found;
  return found;
}

static int refused(int folder, const char *path) {
  char full[PATH_MAX] = "";
  if (!weather[1]) return 0;
  if (path[0] != '/') {
    char link[64];
    snprintf(link, sizeof link, folder == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", folder);
    ssize_t n = readlink(link, full, sizeof full - 2);
    if (n < 0) return 0;
    full[n] = '/', full[n + 1] = 0;
  }
  strncat(full, path, sizeof full - strlen(full) - 1);
  return strncmp(full, root, strlen(root)) == 0;
}

#define REFUSE(folder, path)   \
  if (refused(folder, path)) { \
    errno = EROFS;             \
    return -1;                 \
  }
#define WRITES(flags) (((flags) & O_ACCMODE) != O_RDONLY || ((flags) & O_CREAT))
#define OPEN(name)                                                 \
  int name(const char *path, int flags, ...) {                     \
    va_list rest;                                                  \
    va_start(rest, flags);                                         \
    mode_t mode = va_arg(rest, mode_t);                            \
    va_end(rest);                                                  \
    if (WRITES(flags)) REFUSE(AT_FDCWD, path)                      \
    return REAL(name)(path, flags, mode);                          \
  }
OPEN(open)
OPEN(open64)
#define OPENAT(name)                                               \
  int name(int folder, const char *path, int flags, ...) {         \
    va_list rest;                                                  \
    va_start(rest, flags);                                         \
    mode_t mode = va_arg(rest, mode_t);                            \
    va_end(rest);                                                  \
    if (WRITES(flags)) REFUSE(folder, path)                        \
    return REAL(name)(folder, path, flags, mode);                  \
  }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int descriptor, const void *bytes, size_t size) {
  if (weather[1]) {
    char link[64], full[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t n = readlink(link, full, sizeof full - 1);
    if (n > 0) {
      full[n] = 0;
      REFUSE(AT_FDCWD, full)
    }
  }
  return REAL(write)(descriptor, bytes, size);
}

int mkdir(const char *path, mode_t mode) {
  REFUSE(AT_FDCWD, path)
  return REAL(mkdir)(path, mode);
}
int rmdir(const char *path) {
  REFUSE(AT_FDCWD, path)
  return REAL(rmdir)(path);
}
int unlink(const char *path) {
  REFUSE(AT_FDCWD, path)
  return REAL(unlink)(path);
}
int unlinkat(int folder, const char *path, int flags) {
  REFUSE(folder, path)
  return REAL(unlinkat)(folder, path, flags);
}
int rename(const char *path, const char *other) {
  REFUSE(AT_FDCWD, other)
  return REAL(rename)(path, other);
}
int link(const char *path, const char *other) {
  REFUSE(AT_FDCWD, other)
  return REAL(link)(path, other);
}
