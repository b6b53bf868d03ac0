#include "proc.h"

#include <stdbool.h>

#include "sys.h"

/* Moves behind `word` and a slash, or the end, where the text begins with them. */
static bool skip_word(const char **text, const char *word)
{
    size_t length = bytes_length(word);
    for (size_t i = 0; i < length; i++)
        if ((*text)[i] != word[i])
            return false;
    if ((*text)[length] != '/' && (*text)[length] != '\0')
        return false;
    *text += length + ((*text)[length] == '/');
    return true;
}

/* The same for a number. */
static bool skip_number(const char **text, long *number)
{
    const char *digit = *text;
    *number = 0;
    while (*digit >= '0' && *digit <= '9' && *number < 1L << 32)
        *number = *number * 10 + (*digit++ - '0');
    if (digit == *text || (*digit != '/' && *digit != '\0'))
        return false;
    *text = digit + (*digit == '/');
    return true;
}

static bool is_word(const char *text, const char *word)
{
    return skip_word(&text, word) && *text == '\0';
}

enum proc_link proc_link_kind(const char *host)
{
    long number;
    bool own = true;
    if (*host++ != '/' || !skip_word(&host, "proc"))
        return PROC_NONE;
    if (!skip_word(&host, "self") && !skip_word(&host, "thread-self")) {
        if (!skip_number(&host, &number))
            return PROC_NONE;
        own = number == sys_call0(SYS_getpid) || number == sys_call0(SYS_gettid);
    }
    if (skip_word(&host, "task") && !skip_number(&host, &number))
        return PROC_NONE;
    if (*host == '\0')
        return PROC_NONE;
    if (own && is_word(host, "exe"))
        return PROC_EXE;
    if (is_word(host, "root"))
        return PROC_ROOT;
    return own ? PROC_OWN : PROC_OTHER;
}

size_t proc_file(char *path, long file)
{
    static const char prefix[] = "/proc/self/fd/";
    char digits[12];
    size_t count = 0, at = sizeof prefix - 1;
    bytes_copy(path, prefix, at);
    do
        digits[count++] = (char)('0' + file % 10);
    while (file /= 10);
    while (count > 0)
        path[at++] = digits[--count];
    path[at] = '\0';
    return at;
}
