/* The machine, an engine of our own, and the little of POSIX that the Lua layer needs. */
#include "lbinding.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

static int host_facts(lua_State *L)
{
    if (moonsand_host_facts(lb_text(L), lb_err(L)) != 0)
        return lb_fail(L);
    return lb_push_text(L);
}

static int owner_alive(lua_State *L)
{
    const char *owner = lb_arg_string(L, 1);
    lua_pushboolean(L, moonsand_owner_alive(owner, luaL_checkinteger(L, 2)));
    return 1;
}

static int owner_label(lua_State *L)
{
    if (moonsand_owner_label(lb_text(L), lb_err(L)) != 0)
        return lb_fail(L);
    return lb_push_text(L);
}

static int embedded_start(lua_State *L)
{
    const char *dir = lb_arg_optstring(L, 1), *kind = lb_arg_optstring(L, 2);
    if (moonsand_embedded_start(lb_text(L), dir, kind, lb_err(L)) != 0)
        return lb_fail(L);
    return lb_push_text(L);
}

static int embedded_stop(lua_State *L)
{
    if (moonsand_embedded_stop(lb_arg_optstring(L, 1), lb_err(L)) != 0)
        return lb_fail(L);
    lua_pushboolean(L, true);
    return 1;
}

static int embedded_status(lua_State *L)
{
    if (moonsand_embedded_status(lb_text(L), lb_arg_optstring(L, 1), lb_err(L)) != 0) {
        return lb_fail(L);
    }
    return lb_push_text(L);
}

static int monotonic(lua_State *L)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

static int descriptor(lua_State *L, int arg)
{
    lua_Integer fd = luaL_checkinteger(L, arg);
    luaL_argcheck(L, fd >= 0 && fd < INT32_MAX, arg, "not a file descriptor");
    return (int)fd;
}

static int is_terminal(lua_State *L)
{
    lua_pushboolean(L, isatty(descriptor(L, 1)));
    return 1;
}

/* read(fd, max) -> bytes, "" when there is nothing yet, nil at the end | nil, err. Never blocks:
 * io.read would stop the loop while a slow pipe feeds a program's stdin. */
static int read_some(lua_State *L)
{
    struct pollfd p = {.fd = descriptor(L, 1), .events = POLLIN, .revents = 0};
    lua_Integer max = luaL_optinteger(L, 2, 65536);
    luaL_argcheck(L, max > 0 && max <= 16777216, 2, "must be between 1 and 16 MiB");
    if (poll(&p, 1, 0) <= 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    luaL_Buffer b;
    char *room = luaL_buffinitsize(L, &b, (size_t)max);
    ssize_t n = read(p.fd, room, (size_t)max);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        n = 0;
    else if (n == 0) {
        lua_pushnil(L);
        return 1;
    }
    if (n < 0)
        return lb_fail_errno(L, errno, "cannot read", "the input");
    luaL_pushresultsize(&b, (size_t)n);
    return 1;
}

static int sha256(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    char hex[65];
    if (moonsand_sha256(hex, bytes, len, lb_err(L)) != 0)
        return lb_fail(L);
    lua_pushstring(L, hex);
    return 1;
}

static const char *type_name(mode_t mode)
{
    if (S_ISREG(mode))
        return "file";
    if (S_ISDIR(mode))
        return "directory";
    if (S_ISSOCK(mode))
        return "socket";
    return S_ISLNK(mode) ? "link" : "other";
}

/* stat(path) -> { type, mode, size, uid, gid } | nil, err. Follows links. */
static int stat_path(lua_State *L)
{
    const char *path = lb_arg_string(L, 1);
    struct stat st;
    if (stat(path, &st) != 0)
        return lb_fail_errno(L, errno, "cannot look at", path);
    lua_createtable(L, 0, 5);
    lua_pushstring(L, type_name(st.st_mode));
    lua_setfield(L, -2, "type");
    lua_pushinteger(L, (lua_Integer)(st.st_mode & 07777));
    lua_setfield(L, -2, "mode");
    lua_pushinteger(L, (lua_Integer)st.st_size);
    lua_setfield(L, -2, "size");
    lua_pushinteger(L, (lua_Integer)st.st_uid);
    lua_setfield(L, -2, "uid");
    lua_pushinteger(L, (lua_Integer)st.st_gid);
    lua_setfield(L, -2, "gid");
    return 1;
}

static void set_integer(lua_State *L, const char *field, unsigned long long value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, field);
}

/* disk(path) -> { free_bytes, total_bytes, free_inodes } of the file system there | nil, err. */
static int disk(lua_State *L)
{
    const char *path = lb_arg_string(L, 1);
    struct statvfs st;
    if (statvfs(path, &st) != 0)
        return lb_fail_errno(L, errno, "cannot look at", path);
    lua_createtable(L, 0, 3);
    set_integer(L, "free_bytes", (unsigned long long)st.f_bavail * st.f_frsize);
    set_integer(L, "total_bytes", (unsigned long long)st.f_blocks * st.f_frsize);
    set_integer(L, "free_inodes", (unsigned long long)st.f_favail);
    return 1;
}

/* make_dirs(path) -> true | nil, err. With all that is missing above it; for this user only. */
static int make_dirs(lua_State *L)
{
    size_t len;
    const char *path = luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, len > 0 && len < 4096 && strlen(path) == len, 1, "not a path");
    char part[4096];
    memcpy(part, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (part[i] != '/' && part[i] != '\0')
            continue;
        char end = part[i];
        part[i] = '\0';
        if (mkdir(part, 0700) != 0 && errno != EEXIST)
            return lb_fail_errno(L, errno, "cannot make the directory", part);
        part[i] = end;
    }
    lua_pushboolean(L, true);
    return 1;
}

static int close_lock(lua_State *L)
{
    luaL_Stream *s = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    return luaL_fileresult(L, fclose(s->f) == 0, NULL);
}

/* lock(path) -> file | false when another has it | nil, err. One of Lua's own files, whose closing
 * is the end of it. */
static int lock(lua_State *L)
{
    const char *path = lb_arg_string(L, 1);
    luaL_Stream *s = lua_newuserdatauv(L, sizeof *s, 0);
    s->f = NULL;
    s->closef = NULL; /* closed: nothing is to be done when what follows raises */
    luaL_setmetatable(L, LUA_FILEHANDLE);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return lb_fail_errno(L, errno, "cannot open", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int errnum = errno;
        (void)close(fd);
        if (errnum != EWOULDBLOCK)
            return lb_fail_errno(L, errnum, "cannot lock", path);
        lua_pushboolean(L, false);
        return 1;
    }
    s->f = fdopen(fd, "r+");
    if (!s->f) {
        int errnum = errno;
        (void)close(fd);
        return lb_fail_errno(L, errnum, "cannot open", path);
    }
    s->closef = close_lock;
    return 1;
}

/* terminal_size(fd) -> columns, rows | nil when it is no terminal or does not tell. */
static int terminal_size(lua_State *L)
{
    struct winsize size = {0};
    if (ioctl(descriptor(L, 1), TIOCGWINSZ, &size) != 0 || size.ws_col == 0)
        return 0;
    lua_pushinteger(L, size.ws_col);
    lua_pushinteger(L, size.ws_row);
    return 2;
}

const luaL_Reg lb_host_functions[] = {
    {"disk", disk},
    {"embedded_start", embedded_start},
    {"embedded_status", embedded_status},
    {"embedded_stop", embedded_stop},
    {"error", lb_error_new},
    {"host_facts", host_facts},
    {"isatty", is_terminal},
    {"lock", lock},
    {"make_dirs", make_dirs},
    {"monotonic", monotonic},
    {"owner_alive", owner_alive},
    {"owner_label", owner_label},
    {"read", read_some},
    {"sha256", sha256},
    {"stat", stat_path},
    {"terminal_size", terminal_size},
    {NULL, NULL},
};
