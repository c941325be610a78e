/* A disk that fails on demand: LD_PRELOAD this, and the n-th change below a folder is made to fail.

Counted are the calls that change what is on the disk: open for writing, write, fsync, rename, link, unlink, mkdir, rmdir,
truncate. `fault_arm(root, at, kind, log)` starts counting; at 0 nothing fails and the calls are only listed. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NONE, KILL_BEFORE, KILL_AFTER, FULL, EIO_ONCE, SHORT, TORN };

static char root[PATH_MAX];
static int armed, count, target, kind, list = -1;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

void fault_arm(const char *folder, int at, int what, int descriptor) {
  snprintf(root, sizeof root, "%s/", folder);
  target = at, kind = what, list = descriptor, count = 0, armed = 1;
}

void fault_disarm(void) { armed = 0; }

static int path_at(int folder, const char *path, char *out) {
  char base[PATH_MAX] = "";
  if (path[0] != '/') {
    if (folder == AT_FDCWD) {
      if (!getcwd(base, sizeof base)) return 0;
    } else {
      char link[64];
      snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
      ssize_t n = readlink(link, base, sizeof base - 1);
      if (n < 0) return 0;
      base[n] = 0;
    }
  }
  if (snprintf(out, PATH_MAX, "%s%s%s", base, base[0] ? "/" : "", path) >= PATH_MAX) return 0;
  return strncmp(out, root, strlen(root)) == 0;
}

static int path_of(int descriptor, char *out) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t n = readlink(link, out, PATH_MAX - 1);
  if (n < 0) return 0;
  out[n] = 0;
  return strncmp(out, root, strlen(root)) == 0;
}

/* Count a call; what is to happen to it. */
static int step(const char *call, const char *path, const char *to) {
  count++;
  if (list >= 0) {
    char line[2 * PATH_MAX + 64];
    int n = snprintf(line, sizeof line, "%s\t%s\t%s\n", call, path + strlen(root), to ? to + strlen(root) : "");
    REAL(write)(list, line, n);
  }
  int grows = strcmp(call, "write") == 0 || strcmp(call, "open") == 0 || strcmp(call, "mkdir") == 0;
  if (kind == FULL && target && count >= target) return grows ? FULL : NONE; /* it stays full */
  if (count != target) return NONE;
  if (kind == KILL_BEFORE) raise(SIGKILL);
  return kind;
}

static int after(int what, int result) {
  if (what == KILL_AFTER) raise(SIGKILL);
  return result;
}

#define REFUSE(what, failed)                                    \
  if (what == FULL || what == EIO_ONCE) {                       \
    errno = what == FULL ? ENOSPC : EIO;                        \
    return failed;                                              \
  }

static int changes(int flags) { return (flags & O_ACCMODE) != O_RDONLY; }

#define OPEN(name)                                                                   \
  int name(const char *path, int flags, ...) {                                       \
    va_list rest;                                                                    \
    va_start(rest, flags);                                                           \
    mode_t mode = va_arg(rest, mode_t);                                              \
    va_end(rest);                                                                    \
    char full[PATH_MAX];                                                             \
    if (!armed || !changes(flags) || !path_at(AT_FDCWD, path, full)) return REAL(name)(path, flags, mode); \
    int what = step("open", full, NULL);                                             \
    REFUSE(what, -1)                                                                 \
    return after(what, REAL(name)(path, flags, mode));                               \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                 \
  int name(int folder, const char *path, int flags, ...) {                           \
    va_list rest;                                                                    \
    va_start(rest, flags);                                                           \
    mode_t mode = va_arg(rest, mode_t);                                              \
    va_end(rest);                                                                    \
    char full[PATH_MAX];                                                             \
    if (!armed || !changes(flags) || !path_at(folder, path, full)) return REAL(name)(folder, path, flags, mode); \
    int what = step("open", full, NULL);                                             \
    REFUSE(what, -1)                                                                 \
    return after(what, REAL(name)(folder, path, flags, mode));                       \
  }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int descriptor, const void *bytes, size_t size) {
  char full[PATH_MAX];
  if (!armed || !path_of(descriptor, full)) return REAL(write)(descriptor, bytes, size);
  int what = step("write", full, NULL);
  REFUSE(what, -1)
  if (what == SHORT || what == TORN) {
    ssize_t half = REAL(write)(descriptor, bytes, size > 1 ? size / 2 : size);
    if (what == TORN) raise(SIGKILL);
    return half;
  }
  return after(what, REAL(write)(descriptor, bytes, size));
}

ssize_t writev(int descriptor, const struct iovec *parts, int number) {
  char full[PATH_MAX];
  if (!armed || !path_of(descriptor, full)) return REAL(writev)(descriptor, parts, number);
  int what = step("write", full, NULL);
  REFUSE(what, -1)
  if (what == SHORT || what == TORN) {
    ssize_t half = REAL(write)(descriptor, parts[0].iov_base, parts[0].iov_len > 1 ? parts[0].iov_len / 2 : parts[0].iov_len);
    if (what == TORN) raise(SIGKILL);
    return half;
  }
  return after(what, REAL(writev)(descriptor, parts, number));
}

#define ON_DESCRIPTOR(name, called, ...)                                             \
  char full[PATH_MAX];                                                               \
  if (!armed || !path_of(descriptor, full)) return REAL(name)(__VA_ARGS__);          \
  int what = step(called, full, NULL);                                               \
  REFUSE(what, -1)                                                                   \
  return after(what, REAL(name)(__VA_ARGS__));

int fsync(int descriptor) { ON_DESCRIPTOR(fsync, "fsync", descriptor) }
int fdatasync(int descriptor) { ON_DESCRIPTOR(fdatasync, "fsync", descriptor) }
int ftruncate(int descriptor, off_t size) { ON_DESCRIPTOR(ftruncate, "truncate", descriptor, size) }
int ftruncate64(int descriptor, off64_t size) { ON_DESCRIPTOR(ftruncate64, "truncate", descriptor, size) }

#define ON_PATH(name, called, folder, path, ...)                                     \
  char full[PATH_MAX];                                                               \
  if (!armed || !path_at(folder, path, full)) return REAL(name)(__VA_ARGS__);        \
  int what = step(called, full, NULL);                                               \
  REFUSE(what, -1)                                                                   \
  return after(what, REAL(name)(__VA_ARGS__));

int unlink(const char *path) { ON_PATH(unlink, "unlink", AT_FDCWD, path, path) }
int unlinkat(int folder, const char *path, int flags) { ON_PATH(unlinkat, "unlink", folder, path, folder, path, flags) }
int rmdir(const char *path) { ON_PATH(rmdir, "rmdir", AT_FDCWD, path, path) }
int mkdir(const char *path, mode_t mode) { ON_PATH(mkdir, "mkdir", AT_FDCWD, path, path, mode) }
int mkdirat(int folder, const char *path, mode_t mode) { ON_PATH(mkdirat, "mkdir", folder, path, folder, path, mode) }

#define ON_TWO(name, called, from, path, into, other, ...)                           \
  char full[PATH_MAX], second[PATH_MAX];                                             \
  int ours = armed && path_at(into, other, second);                                  \
  if (!ours || !path_at(from, path, full)) return REAL(name)(__VA_ARGS__);           \
  int what = step(called, full, second);                                             \
  REFUSE(what, -1)                                                                   \
  return after(what, REAL(name)(__VA_ARGS__));

int rename(const char *path, const char *other) {
  ON_TWO(rename, "rename", AT_FDCWD, path, AT_FDCWD, other, path, other)
}
int renameat(int from, const char *path, int into, const char *other) {
  ON_TWO(renameat, "rename", from, path, into, other, from, path, into, other)
}
int renameat2(int from, const char *path, int into, const char *other, unsigned flags) {
  ON_TWO(renameat2, "rename", from, path, into, other, from, path, into, other, flags)
}
int link(const char *path, const char *other) { ON_TWO(link, "link", AT_FDCWD, path, AT_FDCWD, other, path, other) }
int linkat(int from, const char *path, int into, const char *other, int flags) {
  ON_TWO(linkat, "link", from, path, into, other, from, path, into, other, flags)
}
