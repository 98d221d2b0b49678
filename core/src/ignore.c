#include "ignore.h"

#include <string.h>

#include "error.h"
#include "mem.h"

/* What a pattern is made of. DEEP is "**" before something: any number of whole directories, also
 * none. ALL is "**" at the end, and before a pattern without other wildcards. */
typedef enum token_kind { LITERAL, ANY, CLASS, STAR, DEEP, ALL } token_kind;

typedef struct token {
    token_kind kind;
    size_t at, len; /* LITERAL: in pattern.literals; CLASS: the text between the brackets */
} token;

typedef struct pattern {
    char *text;     /* cleaned, without "!" */
    char *literals; /* without the escapes */
    token *tokens;
    size_t count;
    bool exception;
} pattern;

struct ms_ignore {
    pattern *patterns;
    size_t count, cap;
    bool has_exceptions;
};

/* ---- reading patterns ---- */

static void pattern_free(pattern *p)
{
    ms_free(p->text);
    ms_free(p->literals);
    ms_free(p->tokens);
}

void ms_ignore_free(ms_ignore *g)
{
    if (g == NULL)
        return;
    for (size_t i = 0; i < g->count; i++)
        pattern_free(&g->patterns[i]);
    ms_free(g->patterns);
    ms_free(g);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void trim(const char **p, size_t *n)
{
    while (*n != 0 && is_space((*p)[*n - 1]))
        (*n)--;
    while (*n != 0 && is_space(**p)) {
        (*p)++;
        (*n)--;
    }
}

/* As Go's filepath.Clean, in place: no "//", no "./", ".." taken off where there is something
 * before it. Slashes only; the length never grows. */
static size_t clean(char *s, size_t n)
{
    bool rooted = n != 0 && s[0] == '/';
    size_t out = rooted, floor = rooted; /* ".." does not go below floor */
    for (size_t i = rooted; i < n;) {
        size_t len = 0;
        while (i + len < n && s[i + len] != '/')
            len++;
        bool dot = len == 0 || (len == 1 && s[i] == '.');
        bool up = len == 2 && s[i] == '.' && s[i + 1] == '.';
        if (up && out > floor) {
            while (out > floor && s[out - 1] != '/')
                out--;
            if (out > floor)
                out--;
        } else if (!dot && !(up && rooted)) {
            if (out > (size_t)rooted)
                s[out++] = '/';
            memmove(s + out, s + i, len);
            out += len;
            if (up)
                floor = out;
        }
        i += len + 1;
    }
    if (out == 0)
        s[out++] = '.';
    return out;
}

/* One character of a class; "\" takes the next as it is. 0: the pattern is broken. */
static size_t class_char(const char *s, size_t n)
{
    if (n == 0 || s[0] == '-' || s[0] == ']')
        return 0;
    if (s[0] == '\\')
        return n > 1 ? 2 : 0;
    return 1;
}

/* The length of "[...]" with its brackets, 0 when it is broken; the rules of Go's filepath.Match.
 */
static size_t class_len(const char *s, size_t n)
{
    size_t i = n > 1 && s[1] == '^' ? 2 : 1;
    for (size_t ranges = 0;; ranges++) {
        if (i < n && s[i] == ']' && ranges != 0)
            return i + 1;
        size_t len = class_char(s + i, n - (i < n ? i : n));
        if (len == 0)
            return 0;
        i += len;
        /* the rest of a character of several bytes */
        while (i < n && ((unsigned char)s[i] & 0xc0) == 0x80)
            i++;
        if (i < n && s[i] == '-') {
            i++;
            len = class_char(s + i, n - (i < n ? i : n));
            if (len == 0)
                return 0;
            i += len;
            while (i < n && ((unsigned char)s[i] & 0xc0) == 0x80)
                i++;
        }
    }
}

static void add(pattern *p, token_kind kind, size_t at, size_t len)
{
    token *last = p->count != 0 ? &p->tokens[p->count - 1] : NULL;
    if (kind == LITERAL && last != NULL && last->kind == LITERAL)
        last->len += len;
    else
        p->tokens[p->count++] = (token){kind, at, len};
}

/* False when the pattern is broken. tokens and literals have room for one a byte. */
static bool compile(pattern *p)
{
    const char *s = p->text;
    size_t n = strlen(s), used = 0;
    bool plain_rest = n > 2 && strcspn(s + 2, "*?[]\\") == n - 2;
    for (size_t i = 0; i < n;) {
        if (s[i] == '*' && s[i + 1] == '*') {
            bool slash = s[i + 2] == '/';
            bool end = s[i + 2 + slash] == '\0';
            add(p, end || (i == 0 && plain_rest && !slash) ? ALL : DEEP, 0, 0);
            i += 2u + slash;
        } else if (s[i] == '*') {
            add(p, STAR, 0, 0);
            i++;
        } else if (s[i] == '?') {
            add(p, ANY, 0, 0);
            i++;
        } else if (s[i] == '[') {
            size_t len = class_len(s + i, n - i);
            if (len == 0)
                return false;
            add(p, CLASS, i + 1, len - 2);
            i += len;
        } else {
            if (s[i] == '\\' && s[++i] == '\0')
                return false;
            p->literals[used] = s[i++];
            add(p, LITERAL, used++, 1);
        }
    }
    return true;
}

static pattern *room_for_one(ms_ignore *g)
{
    if (g->count == g->cap) {
        size_t cap = g->cap != 0 ? 2 * g->cap : 16;
        pattern *bigger = ms_realloc(g->patterns, cap * sizeof(*bigger));
        if (bigger == NULL)
            return NULL;
        g->patterns = bigger;
        g->cap = cap;
    }
    pattern *p = &g->patterns[g->count];
    memset(p, 0, sizeof(*p));
    return p;
}

/* A pattern whose text is that, cleaned or not, and which is not yet compiled. */
static int pattern_new(pattern **out, ms_ignore *g, const char *text, size_t len)
{
    pattern *p = room_for_one(g);
    if (p == NULL)
        return -1;
    p->text = ms_strndup(text, len);
    p->literals = ms_malloc(len + 1);
    p->tokens = ms_calloc(len + 1, sizeof(*p->tokens));
    if (p->text == NULL || p->literals == NULL || p->tokens == NULL) {
        pattern_free(p);
        return -1;
    }
    *out = p;
    return 0;
}

static int bad_line(moonsand_error **err, size_t line, const char *p, size_t n)
{
    char text[128];
    ms_printable(text, sizeof(text), p, n);
    return ms_fail(err, MOONSAND_E_INVALID, "line %zu of the ignore file is no pattern: %s", line,
                   text);
}

static int add_line(ms_ignore *g, const char *s, size_t n, size_t line, moonsand_error **err)
{
    const char *whole = s;
    size_t whole_len = n;
    if (memchr(s, '\0', n) != NULL)
        return bad_line(err, line, whole, whole_len);
    bool exception = s[0] == '!';
    if (exception) {
        s++;
        n--;
        trim(&s, &n);
        if (n == 0)
            return bad_line(err, line, whole, whole_len);
    }
    pattern *p;
    if (pattern_new(&p, g, s, n) != 0)
        return ms_fail_nomem(err);
    n = clean(p->text, n);
    if (n > 1 && p->text[0] == '/')
        memmove(p->text, p->text + 1, --n);
    p->text[n] = '\0';
    p->exception = exception;
    if (!compile(p)) {
        pattern_free(p);
        return bad_line(err, line, whole, whole_len);
    }
    g->has_exceptions |= exception;
    g->count++;
    return 0;
}

int ms_ignore_parse(ms_ignore **out, const char *text, size_t len, moonsand_error **err)
{
    *out = NULL;
    ms_ignore *g = ms_calloc(1, sizeof(*g));
    if (g == NULL)
        return ms_fail_nomem(err);
    const char *p = text, *end = text + len;
    if (len >= 3 && memcmp(p, "\xef\xbb\xbf", 3) == 0)
        p += 3;
    for (size_t line = 1; p < end; line++) {
        const char *nl = memchr(p, '\n', (size_t)(end - p));
        const char *s = p;
        size_t n = (size_t)((nl != NULL ? nl : end) - p);
        p += n + (nl != NULL);
        if (n != 0 && s[0] == '#')
            continue;
        trim(&s, &n);
        if (n != 0 && add_line(g, s, n, line, err) != 0) {
            ms_ignore_free(g);
            return -1;
        }
    }
    *out = g;
    return 0;
}

int ms_ignore_keep(ms_ignore *g, const char *path, moonsand_error **err)
{
    pattern *p;
    size_t len = strlen(path);
    if (pattern_new(&p, g, path, len) != 0)
        return ms_fail_nomem(err);
    memcpy(p->literals, path, len);
    if (len != 0)
        add(p, LITERAL, 0, len);
    p->exception = g->has_exceptions = true;
    g->count++;
    return 0;
}

/* ---- matching ---- */

/* The character at s and its length; a byte that is not UTF-8 is one character. */
static uint32_t rune(const char *s, size_t n, size_t *len)
{
    const unsigned char *u = (const unsigned char *)s;
    size_t want = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : u[0] >= 0xc0 ? 2 : 1;
    *len = 1;
    if (want == 1 || want > n)
        return u[0];
    uint32_t c = u[0] & (0x7fu >> want);
    for (size_t i = 1; i < want; i++) {
        if ((u[i] & 0xc0) != 0x80)
            return u[0];
        c = c << 6 | (u[i] & 0x3fu);
    }
    *len = want;
    return c;
}

static uint32_t class_rune(const char **s, size_t *n)
{
    size_t len, skip = **s == '\\';
    uint32_t c = rune(*s + skip, *n - skip, &len);
    *s += skip + len;
    *n -= skip + len;
    return c;
}

static bool in_class(const char *s, size_t n, uint32_t c)
{
    bool negated = n != 0 && s[0] == '^', found = false;
    s += negated;
    n -= negated;
    while (n != 0) {
        uint32_t low = class_rune(&s, &n), high = low;
        if (n > 1 && s[0] == '-') {
            s++;
            n--;
            high = class_rune(&s, &n);
        }
        found |= low <= c && c <= high;
    }
    return found != negated;
}

/* can[i]: the tokens so far can take the first i bytes of the path. Makes it so for one more. */
static bool advance(const pattern *p, const token *t, const char *path, size_t n, const bool *can,
                    bool *next)
{
    const char *literal = p->literals + t->at;
    bool some = false, before = false;
    memset(next, 0, n + 1);
    for (size_t i = 0; i <= n; i++) {
        size_t len = 1;
        switch (t->kind) {
        case LITERAL:
            if (can[i] && t->len <= n - i && memcmp(path + i, literal, t->len) == 0)
                some = next[i + t->len] = true;
            break;
        case ANY:
        case CLASS:
            if (can[i] && i < n) {
                uint32_t c = rune(path + i, n - i, &len);
                /* Docker makes regular expressions of patterns, where "[^a]" takes a slash, too. */
                if (t->kind == ANY ? c != '/' : in_class(p->text + t->at, t->len, c))
                    some = next[i + len] = true;
            }
            break;
        case STAR:
            next[i] = can[i] || (i != 0 && next[i - 1] && path[i - 1] != '/');
            some |= next[i];
            break;
        case DEEP:
            next[i] = can[i] || (before && path[i - 1] == '/');
            before |= can[i];
            some |= next[i];
            break;
        case ALL:
            before |= can[i];
            some |= next[i] = before;
            break;
        }
    }
    return some;
}

static bool matches(const pattern *p, const char *path, size_t n)
{
    const token *first = p->tokens, *last = p->tokens + p->count - 1;
    if (p->count == 0)
        return n == 0;
    /* Nearly all paths end here, without the work below. */
    if (first->kind == LITERAL &&
        (first->len > n || memcmp(path, p->literals + first->at, first->len) != 0))
        return false;
    if (last->kind == LITERAL &&
        (last->len > n || memcmp(path + n - last->len, p->literals + last->at, last->len) != 0))
        return false;
    if (first == last && first->kind == LITERAL)
        return first->len == n;
    bool rows[2][MS_PATH_MAX + 1];
    memset(rows[0], 0, n + 1);
    rows[0][0] = true;
    for (size_t i = 0; i < p->count; i++)
        if (!advance(p, &p->tokens[i], path, n, rows[i & 1], rows[~i & 1]))
            return false;
    return rows[p->count & 1][n];
}

size_t ms_ignore_state_size(const ms_ignore *g)
{
    return g->count;
}

bool ms_ignore_excludes(const ms_ignore *g, const char *path, const unsigned char *above,
                        unsigned char *state)
{
    bool excluded = false;
    size_t n = strlen(path);
    for (size_t i = 0; i < g->count; i++) {
        const pattern *p = &g->patterns[i];
        bool match = above != NULL && above[i];
        /* A pattern that could change nothing is not looked at, and does not count as matched for
         * what is below: so does Docker, and it can be seen from outside. */
        if (!match && p->exception == excluded && n < MS_PATH_MAX)
            match = matches(p, path, n);
        state[i] = match;
        if (match)
            excluded = !p->exception;
    }
    return excluded;
}

bool ms_ignore_may_keep_below(const ms_ignore *g, const char *dir)
{
    size_t n = strlen(dir);
    for (size_t i = 0; g->has_exceptions && i < g->count; i++) {
        const pattern *p = &g->patterns[i];
        if (p->exception && strncmp(p->text, dir, n) == 0 && (p->text[n] == '/' || !p->text[n]))
            return true;
    }
    return false;
}
